"""Huge values, NaN and infinity: as the published formula has them in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from rfaconv import nn as layers
from rfaconv.backends.registry import BACKENDS
from rfaconv.geometry import Problem, Window

_PROBLEM = Problem("project", "rfa", "cpu", "float32", Window.create(3), 8, 6)
BACKENDS_HERE = [
    "reference",
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(
            BACKENDS["cpu"].refusal(_PROBLEM) is not None, reason="needs the CPU kernels"
        ),
    ),
]
MODES = ("inference", "evaluation", "training")


def run(layer, x, mode):
    """Output and gradients of a copy of the layer."""
    layer = copy.deepcopy(layer).train(mode == "training")
    x = x.clone().requires_grad_(mode != "inference")
    with torch.set_grad_enabled(mode != "inference"):
        y = layer(x)
    found = {"y": y.detach()}
    if mode != "inference":
        generator = torch.Generator().manual_seed(1)
        y.backward(torch.randn(y.shape, generator=generator).to(y.dtype))
        found |= {name: p.grad for name, p in layer.named_parameters()}
        found |= {"dx": x.grad}
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [2.0**30, 1e10, 1e20, 1e30])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)], ids=["f32", "bf16"]
)
@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("stride", [1, 2])
def test_rfa_of_huge_values(backend, stride, dtype, tolerance, scale, mode):
    layer = layers.RFAConv2d(8, 6, 3, stride=stride, backend=backend, dtype=dtype)
    layer.feature_norm.running_var.uniform_(0.5, 2.0)
    x = (torch.randn(2, 8, 12, 13) * scale).to(dtype)
    oracle = copy.deepcopy(layer).double()
    oracle.backend = "reference"
    expected = run(oracle, x.double(), mode)
    for name, found in run(layer, x, mode).items():
        value = expected[name]
        assert value.isfinite().all(), name
        error = (found.double() - value).abs().max()
        assert error <= tolerance * value.abs().max(), name


@pytest.mark.parametrize("name", ["RFCBAMConv2d", "RFCAConv2d"])
@pytest.mark.parametrize("scale", [1e20, 1e30])
@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_batch_statistics_of_huge_values(backend, scale, name):
    layer = getattr(layers, name)(8, 6, 3, backend=backend)
    x = torch.randn(2, 8, 12, 13) * scale
    oracle = copy.deepcopy(layer).double()
    oracle.backend = "reference"
    expected, found = run(oracle, x.double(), "training"), run(layer, x, "training")
    for key in ("y", "dx", "weight", "feature_weight"):
        error = (found[key].double() - expected[key]).abs().max()
        assert error <= 1e-4 * expected[key].abs().max(), key


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("scale", [1.0, 1e10, 1e30])
def test_the_oracle_is_the_formula(backend, scale):
    layer = layers.RFAConv2d(3, 4, 3, bias=False, backend=backend).eval()
    x = torch.randn(2, 3, 6, 7) * scale
    c, t = 3, 9
    u = torch.nn.functional.unfold(x.double(), 3, padding=1).view(2, c, t, -1)
    z = torch.einsum("cjt,bctp->bcjp", layer.feature_weight.double().view(c, t, t), u)
    f = (z / math.sqrt(1 + 1e-5)).relu()
    logits = layer.attention_weight.double().view(c, t, 1) * u.mean(2, keepdim=True)
    powers = (logits - logits.amax(2, keepdim=True)).exp()
    panel = f * powers / powers.sum(2, keepdim=True)
    y = (layer.weight.double().flatten(1) @ panel.flatten(1, 2)).view(2, 4, 6, 7)
    with torch.no_grad():
        found = layer(x).double()
    assert (found - y).abs().max() <= 1e-5 * y.abs().max()


GAPS = [
    pytest.param({"kernel_size": 1, "stride": 2}, id="every-other-pixel"),
    pytest.param({"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 2}, id="even-pixels"),
    pytest.param({"kernel_size": 3, "stride": 4}, id="stride-over-kernel"),
    pytest.param({"kernel_size": 3, "stride": 3, "padding": 0}, id="last-pixels"),
]


def visited(window, x):
    """Which pixels any window sees."""
    dims = x.dim() - 2
    kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[dims - 1]
    arguments = {"padding": window.get("dilation", 1) * (window["kernel_size"] - 1) // 2, **window}
    conv = kind(1, 1, bias=False, **arguments).requires_grad_(False)
    conv.weight.fill_(1.0)
    ones = torch.ones(1, 1, *x.shape[2:], requires_grad=True)
    conv(ones).sum().backward()
    return (ones.grad > 0).expand(x.shape)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", GAPS)
@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("RFAConv2d", (11, 10)),
        ("RFCAConv2d", (11, 10)),
        ("RFAConv1d", (23,)),
        ("RFCAConv3d", (7, 8, 10)),
    ],
)
def test_what_no_window_sees_counts_nowhere(name, size, backend, window, mode, value):
    if backend == "cpu" and len(size) != 2:
        pytest.skip("the CPU kernels are two-dimensional")
    layer = getattr(layers, name)(8, 6, backend=backend, **window)
    x = torch.randn(2, 8, *size)
    seen = visited(window, x)
    assert not seen.all()
    clean, poisoned = x.where(seen, 0.0), x.where(seen, value)
    expected, found = run(layer, clean, mode), run(layer, poisoned, mode)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_what_a_window_sees_is_in_its_output_alone(backend, stride, mode, value):
    layer = layers.RFAConv2d(8, 6, 3, stride=stride, backend=backend)
    x = torch.randn(2, 8, 9, 10)
    poisoned = x.clone()
    poisoned[1, 3, 4, 5] = value
    conv = torch.nn.functional.conv2d(poisoned, torch.ones(1, 8, 3, 3), stride=stride, padding=1)
    hit = ~conv.isfinite().expand(2, 6, -1, -1)
    expected, found = run(layer, x, mode)["y"], run(layer, poisoned, mode)["y"]
    assert not found[hit].isfinite().any()
    torch.testing.assert_close(found[~hit], expected[~hit])
