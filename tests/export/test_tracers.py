"""Layers in the hands of exporters and counters that trace, not of :mod:`rfaconv.export`."""

from __future__ import annotations

import io
import itertools

import pytest
import torch

from rfaconv import nn as layers

# a tracer's warning says that a number was put into the graph: that stays an error here
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated"),
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding - Only steps=1"),
]

CHANNELS = 8
SIZES = {1: ((17,), (24,)), 2: ((11, 9), (16, 13)), 3: ((6, 7, 5), (8, 6, 9))}
"""Traced and not traced."""
NAMES = {
    **{f"{name}Conv{dims}d": dims for name in ("RFA", "RFCBAM", "RFCA") for dims in (1, 2, 3)},
    **dict.fromkeys(("CAMConv2d", "CBAMConv2d", "CAConv2d", "UnfoldRFAConv2d"), 2),
}
USUAL = {"kernel_size": 3, "stride": 2}
OTHERS = (
    {"kernel_size": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "dilation": 2, "groups": 2},
    {"kernel_size": 3, "padding_mode": "reflect"},
)


def _case(name, window, fused, *, nightly):
    label = "-".join(f"{key}={value}" for key, value in window.items())
    marks = [pytest.mark.nightly] if nightly else []
    identity = f"{name}-{label}-{'fused' if fused else 'norm'}"
    return pytest.param(name, window, fused, id=identity, marks=marks)


def cases(*by_day):
    """Every operator, window and state; but for the usual window of those named, by night."""
    result = []
    for name, window in itertools.product(NAMES, (USUAL, *OTHERS)):
        for fused in (False, True) if name.startswith("RF") else (False,):
            day = name in by_day and window is USUAL and not fused
            result.append(_case(name, window, fused, nightly=not day))
    return result


def make(name, window, fused):
    layer = getattr(layers, name)(CHANNELS, 6, **window).eval()
    for module in layer.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    if fused:
        layer.fuse()
    traced, other = SIZES[NAMES[name]]
    return layer, torch.randn(2, CHANNELS, *traced), torch.randn(3, CHANNELS, *other)


def assert_equal(found, layer, x):
    with torch.no_grad():
        expected = layer(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def run_onnx(content, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: x.numpy()})[0])


@pytest.mark.parametrize(("name", "window", "fused"), cases(*NAMES))
def test_legacy_onnx(name, window, fused):
    pytest.importorskip("onnx")
    layer, x, other = make(name, window, fused)
    axes = {0: "batch", **{axis: f"size{axis}" for axis in range(2, x.dim())}}
    file = io.BytesIO()
    torch.onnx.export(
        layer, (x,), file, dynamo=False, input_names=["x"], output_names=["y"],
        dynamic_axes={"x": axes, "y": axes},
    )  # fmt: skip
    assert_equal(run_onnx(file.getvalue(), other), layer, other)


@pytest.mark.parametrize(
    ("name", "window", "fused"), cases("RFAConv2d", "RFCBAMConv2d", "RFCAConv2d")
)
def test_dynamo_onnx(name, window, fused):
    pytest.importorskip("onnxscript")
    layer, x, other = make(name, window, fused)
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, **dict.fromkeys(range(2, x.dim()), free)},)
    program = torch.onnx.export(layer, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    file = io.BytesIO()
    program.save(file)
    assert_equal(run_onnx(file.getvalue(), other), layer, other)


@pytest.mark.parametrize("shaped", [False, True], ids=["free", "shaped"])
@pytest.mark.parametrize(("name", "window", "fused"), cases("RFCBAMConv2d", "RFCAConv2d"))
def test_openvino(name, window, fused, shaped):
    openvino = pytest.importorskip("openvino")
    layer, x, other = make(name, window, fused)
    shape = {"input": [-1, CHANNELS, *(-1 for _ in x.shape[2:])]} if shaped else {}
    model = openvino.convert_model(layer, example_input=x, **shape)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    assert_equal(torch.from_numpy(compiled(other.numpy())[0]), layer, other)


@pytest.mark.parametrize("name", NAMES)
def test_fvcore_counts(name):
    fvcore = pytest.importorskip("fvcore.nn")
    layer, x, _ = make(name, {"kernel_size": 3}, False)
    macs = fvcore.FlopCountAnalysis(layer, x).unsupported_ops_warnings(False).total()
    taps = 3 ** NAMES[name]
    final = x[:, :1].numel() * 6 * CHANNELS * taps
    assert macs >= final + (CHANNELS * taps * x[:, :1].numel() if name.startswith("RF") else 0)


@pytest.mark.parametrize("name", ["RFAConv2d", "RFCBAMConv2d", "RFCAConv2d", "CAConv2d"])
def test_tensorboard_draws(name, tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    layer, x, _ = make(name, USUAL, False)
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(layer, x)
    (file,) = tmp_path.iterdir()
    assert b"aten::_convolution" in file.read_bytes()


@pytest.mark.nightly
@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
def test_legacy_onnx_of_whole_networks(operator):
    timm = pytest.importorskip("timm")
    pytest.importorskip("rfaconv.models")
    network = timm.create_model(f"{operator}_resnet18", num_classes=5).eval()
    axes = {0: "batch", 2: "height", 3: "width"}
    file = io.BytesIO()
    torch.onnx.export(
        network, (torch.randn(1, 3, 33, 40),), file, dynamo=False, input_names=["x"],
        output_names=["y"], dynamic_axes={"x": axes, "y": {0: "batch"}},
    )  # fmt: skip
    x = torch.randn(2, 3, 48, 32)
    assert_equal(run_onnx(file.getvalue(), x), network, x)
