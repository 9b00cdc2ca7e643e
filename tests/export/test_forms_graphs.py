"""What runtimes make of the forms when they load them: what serves all taps is there once."""

import pytest
import torch
from torch import nn

from rfaconv.export import Source, export
from rfaconv.nn import RFAConv2d

TAPS = 9


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 32, 1), RFAConv2d(32, 32, 3), nn.ReLU()).eval()


def test_openvino_negates_and_divides_once(network, tmp_path):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "a.xml"
    export(Source(network, "layer", (18, 18)), path, "openvino")
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    types = [op.get_rt_info()["layerType"].astype(str) for op in runtime_operations(compiled)]
    # an exponential and a product per tap; the shift, the sum and its reciprocal a few together
    assert 2 * TAPS < sum(kind in ("Eltwise", "Subgraph") for kind in types) < 3 * TAPS


def runtime_operations(compiled):
    ordered = compiled.get_runtime_model().get_ordered_ops()
    return [op for op in ordered if "layerType" in op.get_rt_info()]


def test_onnx_runtime_leaves_its_blocked_layout_once_per_tap(network, tmp_path):
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    export(Source(network, "layer", (18, 18)), path, "onnx")
    options = runtime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    kinds = [node.op_type for node in nodes]
    # the features, their mean, and the result; none on a processor without the layout
    assert kinds.count("ReorderOutput") <= TAPS + 2
    assert kinds.count("Exp") == TAPS
    assert "Concat" not in kinds
