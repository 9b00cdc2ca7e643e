"""Whole networks of four libraries: a preserving start leaves their outputs as they were."""

import copy

import pytest
import timm
import torch
import torchvision

from rfaconv.surgery import convert_, where
from rfaconv.variants import OPERATORS

SIZE = 64
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


def deeplab():
    smp = pytest.importorskip("segmentation_models_pytorch")
    return smp.DeepLabV3Plus("resnet18", encoder_weights=None, encoder_output_stride=16)


def yolo():
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    return tasks.DetectionModel("yolov8n.yaml", verbose=False)


NETWORKS = {
    "timm-resnet18": lambda: timm.create_model("resnet18"),
    "torchvision-mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(),
    "smp-deeplabv3plus": deeplab,
    "ultralytics-yolov8n": yolo,
}
REPLACED = {
    "timm-resnet18": (17, 16),
    "torchvision-mobilenet_v3_small": (12, 11),
    "smp-deeplabv3plus": (22, 21),
    "ultralytics-yolov8n": (39, 38),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_unchanged(name, trained, outputs):
    network = trained(NETWORKS[name]())
    for dtype, tolerance in TOLERANCES.items():
        network = network.to(dtype)
        calibration = [torch.randn(2, 3, SIZE, SIZE) for _ in range(2)]
        x = torch.randn(2, 3, SIZE, SIZE, dtype=dtype)
        before = outputs(network, x)
        for operator in OPERATORS:
            model = copy.deepcopy(network)
            report = convert_(model, operator, init="preserve", calibration=calibration)
            replaced, proved = REPLACED[name]
            assert len(report.replaced) == replaced
            if operator.startswith("rf"):
                assert len(report.proved) == proved
            error = (outputs(model, x) - before).abs().max() / before.abs().max()
            assert error < tolerance, (operator, dtype)


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
def test_papers_positions_need_no_calibration(operator, trained, outputs):
    cases = [
        ("timm-resnet18", where.basic_block_conv1, 8),
        ("ultralytics-yolov8n", where.downsampling, 6),
    ]
    for name, predicate, count in cases:
        model = trained(NETWORKS[name]())
        x = torch.randn(2, 3, SIZE, SIZE)
        before = outputs(model, x)
        report = convert_(model, operator, where=predicate, init="preserve")
        assert len(report.replaced) == len(report.proved) == count
        torch.testing.assert_close(outputs(model, x), before, rtol=1e-4, atol=1e-4)


def test_yolo_object_and_its_attributes():
    ultralytics = pytest.importorskip("ultralytics")
    yolo = ultralytics.YOLO("yolov8n.yaml", verbose=False)
    layers = [(m.i, m.f, m.type, m.np) for m in yolo.model.model]
    training = yolo.model.training
    report = convert_(yolo, "rfcbam", where=where.downsampling, init="preserve")
    assert report.replaced[0] == "model.model.1.conv"
    assert [(m.i, m.f, m.type, m.np) for m in yolo.model.model] == layers
    assert yolo.model.training is training


def test_dilation_surgery_after_conversion(trained):
    """smp widens the dilation of the last stage when the encoder is an operator network too."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    plain = copy.deepcopy(trained(encoder))
    convert_(encoder, "rfa", where=where.basic_block_conv1, init="preserve")
    for network in (plain, encoder):
        network.make_dilated(8)
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        for found, wanted in zip(encoder(x), plain(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
