"""torch.jit.trace as people call it: with its own check, then at sizes that were not traced."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from rfaconv import nn as layers

# a tracer's warning says that a number was put into the graph: that stays an error here
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")

CHANNELS = 8
SIZES = {1: ((17,), (24,)), 2: ((11, 9), (16, 13)), 3: ((6, 7, 5), (8, 6, 9))}
"""Traced and not traced."""
WINDOWS = (
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "groups": 2},
    {"kernel_size": 3, "dilation": 2, "bias": False},
    {"kernel_size": 3, "padding_mode": "reflect"},
)
MORE_WINDOWS = (
    {"kernel_size": 5, "stride": 2},
    {"kernel_size": 5, "dilation": 2},
    {"kernel_size": 2, "padding": "same"},
    {"kernel_size": 4, "padding": "valid"},
    {"kernel_size": (3, 1), "padding_mode": "replicate"},
    {"kernel_size": (1, 5), "stride": (1, 2), "padding": 0},
    {"kernel_size": 3, "padding_mode": "circular", "stride": 2},
)
RECEPTIVE_FIELD = [
    pytest.param(f"{name}Conv{dims}d", dims, window, id=f"{name}{dims}d-{_id}")
    for name in ("RFA", "RFCBAM", "RFCA")
    for dims in (1, 2, 3)
    for window in WINDOWS + (MORE_WINDOWS if dims == 2 else ())
    for _id in ["-".join(f"{key}={value}" for key, value in window.items())]
]
OTHERS = [
    pytest.param(name, 2, window, id=f"{name}-{index}")
    for name in ("CAMConv2d", "CBAMConv2d", "CAConv2d", "UnfoldRFAConv2d")
    for index, window in enumerate(WINDOWS + MORE_WINDOWS)
]
OPERATORS = [
    *(f"{name}Conv{dims}d" for name in ("RFA", "RFCBAM", "RFCA") for dims in (1, 2, 3)),
    *("CAMConv2d", "CBAMConv2d", "CAConv2d", "UnfoldRFAConv2d"),
]


def trained(network: nn.Module) -> nn.Module:
    """With the statistics and parameters of a trained network: nothing is zero or one."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


def inputs(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    traced, other = SIZES[dims]
    return torch.randn(2, CHANNELS, *traced), torch.randn(3, CHANNELS, *other)


def assert_equal(traced: nn.Module, layer: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(traced(x), layer(x), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("fused", [False, True], ids=["norm", "fused"])
@pytest.mark.parametrize(("name", "dims", "window"), RECEPTIVE_FIELD)
def test_receptive_field_layers(name, dims, window, fused):
    layer = trained(getattr(layers, name)(CHANNELS, 6, **window))
    if fused:
        layer.fuse()
    x, other = inputs(dims)
    assert_equal(torch.jit.trace(layer, x), layer, other)


@pytest.mark.parametrize(("name", "dims", "window"), OTHERS)
def test_other_layers(name, dims, window):
    layer = trained(getattr(layers, name)(CHANNELS, 6, **window))
    x, other = inputs(dims)
    assert_equal(torch.jit.trace(layer, x), layer, other)


@pytest.mark.parametrize("name", ["SE", "CAM", "CBAM", "CoordinateAttention"])
def test_attention_modules(name):
    layer = trained(getattr(layers, name)(CHANNELS))
    x, other = inputs(2)
    assert_equal(torch.jit.trace(layer, x), layer, other)


@pytest.mark.parametrize("name", OPERATORS)
def test_one_graph_whatever_the_gradient_mode(name):
    layer = trained(getattr(layers, name)(CHANNELS, 6, 3))
    x, other = inputs(layer.dims)
    graphs = []
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            traced = torch.jit.trace(layer, x)
        graphs.append(str(traced.inlined_graph))
        assert_equal(traced, layer, other)
    with torch.inference_mode():
        graphs.append(str(torch.jit.trace(layer, x).inlined_graph))
    frozen = layer.requires_grad_(False)
    graphs.append(str(torch.jit.trace(frozen, x).inlined_graph))
    assert len({_without_gradients(graph) for graph in graphs}) == 1


def _without_gradients(graph: str) -> str:
    """The graph without what a tracer notes of its tensors: addresses, gradients, source lines."""
    return re.sub(r"requires_grad=\d, |___torch_mangle_\d+\.|#.*", "", graph)


# torch's own BatchNorm asks for the size of the batch in training
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning:torch.nn.functional")
@pytest.mark.parametrize("name", OPERATORS)
def test_training_mode(name):
    """Batch statistics of the map that runs, running statistics and gradients as in eager."""
    layer = trained(getattr(layers, name)(CHANNELS, 6, 3, stride=2)).train()
    x, other = inputs(layer.dims)
    traced = torch.jit.trace(layer, x)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    results = []
    for module in (traced, layer):
        layer.load_state_dict(before)
        layer.zero_grad()
        y = module(other)
        y.square().sum().backward()
        gradients = {key: value.grad.clone() for key, value in layer.named_parameters()}
        after = {key: value.clone() for key, value in layer.named_buffers()}
        results.append({"y": y.detach(), **gradients, **after})
    for key, value in results[1].items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(
            results[0][key] / scale,
            value / scale,
            rtol=0,
            atol=1e-5,
            msg=lambda m, k=key: f"{k}: {m}",
        )


def test_a_trace_learns():
    """What was traced without gradients has them where it is run with them."""
    layer = trained(layers.RFCBAMConv2d(CHANNELS, 6, 3))
    x, other = inputs(2)
    with torch.no_grad():
        traced = torch.jit.trace(layer, x)
    for module in (traced, layer):
        layer.zero_grad()
        module(other).sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
def test_whole_networks(operator):
    timm = pytest.importorskip("timm")
    pytest.importorskip("rfaconv.models")
    network = trained(timm.create_model(f"{operator}_resnet18", num_classes=5))
    traced = torch.jit.trace(network, torch.randn(1, 3, 33, 40))
    assert_equal(traced, network, torch.randn(2, 3, 48, 32))
