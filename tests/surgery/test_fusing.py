"""Deployment: our fuse, and the ones of torch, timm and ultralytics, on converted networks."""

import copy

import pytest
import timm
import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.surgery import convert_, fuse, where
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


@pytest.fixture
def converted(operator, trained):
    def build():
        return _converted(operator, trained)

    return build


def _converted(operator, trained):
    model = timm.create_model("resnet10t", num_classes=7)
    convert_(model, operator, where=where.basic_block_conv1)
    return trained(model).double()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("tool", ["ours", "timm"])
def test_fuse_of_a_network(operator, tool, converted, outputs):
    model = converted()
    x = torch.randn(2, 3, 64, 64).double()
    before, count = outputs(model, x), norms(model)
    fused = fuse(model) if tool == "ours" else timm.models.reparameterize_model(model)
    folded = 4 if operator in RECEPTIVE_FIELD_OPERATORS else 0
    assert norms(fused) == count - folded
    assert (fused is model) == (tool == "ours")
    torch.testing.assert_close(outputs(fused, x), before, rtol=1e-10, atol=1e-10)
    assert norms(fuse(fused)) == count - folded
    again = converted()
    again.load_state_dict(fused.state_dict())
    torch.testing.assert_close(outputs(again, x), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("init", ["fresh", "preserve"])
def test_torch_folds_the_norm_behind(operator, init, trained, outputs):
    model = nn.Sequential(nn.SiLU(), nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8))
    trained(model).double()
    convert_(model, operator, init=init)
    x = torch.randn(2, 4, 9, 9).double()
    before = outputs(model, x)
    for layer in (model[1], fuse(copy.deepcopy(model[1]))):
        folded = torch.nn.utils.fuse_conv_bn_eval(layer, model[2])
        assert type(folded) is type(layer)
        y = outputs(nn.Sequential(model[0], folded), x)
        torch.testing.assert_close(y, before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("operator", OPERATORS)
def test_ultralytics_folds_the_norm_behind(operator, yolov8n, trained, outputs):
    model = trained(yolov8n).double()
    convert_(model, operator, where=where.downsampling)
    trained(model)
    x = torch.randn(1, 3, 64, 64).double()
    before = outputs(model, x)
    kinds = {name: type(m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    model.fuse(verbose=False)
    assert model.is_fused()
    assert type(model.model[1].conv) is kinds["model.1.conv"]
    torch.testing.assert_close(outputs(model, x), before, rtol=1e-9, atol=1e-9)
    fuse(model)
    inner = ["attention.bn1"] if operator in ("ca", "rfca") else []
    left = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(name.endswith(tuple(inner)) for name in left)
    torch.testing.assert_close(outputs(model, x), before, rtol=1e-9, atol=1e-9)


def test_fuse_refuses():
    with pytest.raises(InvalidArgument, match=r"model: expected a torch.nn.Module"):
        fuse("rfa_resnet18")
