import pytest
import torch
from torch import nn


@pytest.fixture
def yolov8n():
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    return tasks.DetectionModel("yolov8n.yaml", verbose=False)


@pytest.fixture
def trained():
    """Function: statistics, scales and shifts as after training, not those of the start."""

    def prepare(model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
        return model.eval()

    return prepare


@pytest.fixture
def outputs():
    """Function: the network's output without gradients, the first of several."""

    def run(model, x):
        with torch.no_grad():
            y = model(x)
        return y[0] if isinstance(y, tuple) else y

    return run
