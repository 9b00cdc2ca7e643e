"""Files with our operators in OpenVINO: our kernels run, and what fails there is seen."""

import numpy as np
import pytest
import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.custom import export_onnx_custom
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d

pytest.importorskip("openvino")
pytest.importorskip("onnxscript")

from rfaconv.export.custom import openvino_kernels as kernels

LAYERS = {"rfa": RFAConv2d, "rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}


@pytest.fixture
def network():
    def make(operator):
        torch.manual_seed(0)
        layer = LAYERS[operator](8, 6, 3, stride=2)
        tail = [nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1)]
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), layer, *tail).eval()

    return make


@pytest.mark.parametrize("operator", LAYERS)
def test_any_batch_and_size(operator, network, tmp_path, monkeypatch):
    module = network(operator)
    path = export_onnx_custom(module, torch.randn(1, 3, 9, 8), tmp_path / "file.onnx")
    calls = []
    name = {"rfa": "RFAConv", "rfcbam": "RFCBAMConv", "rfca": "RFCAConv"}[operator]
    compute = kernels._COMPUTE[name]
    monkeypatch.setitem(
        kernels._COMPUTE, name, lambda *a, **k: calls.append(operator) or compute(*a, **k)
    )
    model = kernels.compile_openvino(path, threads=1)
    for size in ((1, 3, 9, 8), (3, 3, 16, 11), (2, 3, 7, 20)):
        x = torch.randn(*size)
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(model([x.numpy()])[0], expected, rtol=1e-5, atol=1e-6)
    assert len(calls) == 3  # not the definition that the file carries


def test_what_fails_inside_is_an_error(network, tmp_path, monkeypatch):
    """OpenVINO passes over an exception, and would go on with memory that nobody wrote."""
    path = export_onnx_custom(network("rfa"), torch.randn(1, 3, 9, 8), tmp_path / "file.onnx")

    def fail(*arguments, **settings):
        raise RuntimeError("out of luck")

    monkeypatch.setitem(kernels._COMPUTE, "RFAConv", fail)
    model = kernels.compile_openvino(path)
    with (
        pytest.warns(UserWarning, match="out of luck"),
        pytest.raises(RuntimeError, match="evaluation failed"),
    ):
        model([np.zeros((1, 3, 9, 8), np.float32)])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidArgument, match="path: expected a file of export_onnx_custom"):
        kernels.compile_openvino(tmp_path / "absent.onnx")
