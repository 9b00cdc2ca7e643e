"""What plain torch does with NaN, infinities, empty batches and saturated values, the kernels do
too.
"""

from __future__ import annotations

import math

import pytest
import torch

from rfaconv.backends.cases import Case, Tensors, draw, evaluate
from rfaconv.geometry import Window
from rfaconv.reference.parity import compare, require
from rfaconv.variants import GATES

pytestmark = pytest.mark.usefixtures("cpu_library", "poisoned_memory")

STATS = ("rfcbam", "rfca")


def _check(case: Case, inputs: Tensors, *, gradients: bool = False) -> Tensors:
    """Compares all results three ways; returns the kernel's."""
    ways = ("fused", "plain", "oracle")
    fused, plain, oracle = (evaluate(case, inputs, way, gradients=gradients) for way in ways)
    require([compare(n, fused[n], plain[n], oracle[n]) for n in fused])
    return fused


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("variant", GATES)
def test_non_finite_input_of_projection(variant: str, value: float) -> None:
    case = Case(variant=variant, batch=2, channels=5, size=(12, 19))
    inputs = draw(case)
    inputs["x"][1, 2, 4, 5] = value
    y = _check(case, inputs)["y"]
    assert not y[1].isfinite().all()
    assert y[0].isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("variant", STATS)
def test_non_finite_input_of_statistics(variant: str, value: float) -> None:
    case = Case("feature_stats", variant, batch=2, channels=5, size=(12, 19))
    inputs = draw(case)
    inputs["x"][1, 2, 4, 5] = value
    _check(case, inputs)


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["nan", "inf"])
def test_non_finite_input_of_moments(value: float) -> None:
    """The poisoned channel has no finite moment; the others are untouched."""
    case = Case("patch_moments", channels=5)
    inputs = draw(case)
    clean = evaluate(case, inputs, "fused", gradients=False)
    inputs["x"][1, 2, 4, 5] = value
    poisoned = evaluate(case, inputs, "fused", gradients=False)
    assert not poisoned["mean"][2].isfinite().any()
    assert not poisoned["cov"][2].isfinite().any()
    others = [0, 1, 3, 4]
    assert torch.equal(poisoned["mean"][others], clean["mean"][others])
    assert torch.equal(poisoned["cov"][others], clean["cov"][others])


@pytest.mark.parametrize("name", ["weight", "feature_weight", "feature_bias", "bias", "gate0"])
def test_non_finite_parameter(name: str) -> None:
    # without padding: torch's float32 convolution leaves out the padded taps, 0 * NaN or not
    case = Case(variant="rfa", channels=5, window=Window.create(3, 1, 0))
    inputs = draw(case)
    inputs[name].view(-1)[1] = math.nan
    _check(case, inputs)


@pytest.mark.parametrize("variant", GATES)
def test_all_features_negative(variant: str) -> None:
    """ReLU passes nothing: the output is the bias, and nothing but it receives a gradient."""
    case = Case(variant=variant)
    inputs = draw(case)
    inputs["feature_bias"] = inputs["feature_bias"] - 1e3
    results = evaluate(case, inputs, "fused")
    expected = inputs["bias"].view(1, -1, 1, 1).expand_as(results["y"]).float()
    assert torch.equal(results["y"], expected)
    for name in ("dfeature_weight", "dfeature_bias", "dweight"):
        assert not results[name].any(), name
    assert not results["dx"].any()


@pytest.mark.parametrize("variant", STATS)
def test_statistics_of_negative_features(variant: str) -> None:
    """A maximum of zero receives no gradient, although every channel attains it."""
    case = Case("feature_stats", variant)
    inputs = draw(case)
    inputs["feature_bias"] = inputs["feature_bias"] - 1e3
    results = evaluate(case, inputs, "fused")
    for name in ("s0", "s1", "dx", "dfeature_weight", "dfeature_bias"):
        assert not results[name].any(), name


def test_ties_of_the_maximum_share_its_gradient() -> None:
    """Equal channels attain the maximum together; each receives an equal part, as from amax."""
    case = Case("feature_stats", "rfcbam", channels=3)
    inputs = draw(case)
    for name in ("x", "feature_weight", "feature_bias"):
        axis = 1 if name == "x" else 0
        inputs[name].select(axis, 2).copy_(inputs[name].select(axis, 0))
    inputs["feature_bias"] = inputs["feature_bias"] + 3.0
    _check(case, inputs, gradients=True)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_logits_of_eighty(sign: float) -> None:
    """Logits of exactly 80 in magnitude, so that all taps but one underflow or none does."""
    case = Case(variant="rfa", channels=4)
    inputs = draw(case)
    inputs["x"] = torch.full_like(inputs["x"], sign * 2.0)
    inputs["gate0"] = torch.where(inputs["gate0"] > 0, 40.0, -40.0).double()
    _check(case, inputs, gradients=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("scale", [1e-30, 1e30], ids=["tiny", "huge"])
def test_range_of_values(scale: float, dtype: torch.dtype) -> None:
    case = Case(variant="none", channels=4, dtype=dtype)
    inputs = draw(case)
    inputs["x"] = (inputs["x"] * scale).to(dtype).double()
    inputs["feature_bias"] = torch.zeros_like(inputs["feature_bias"])
    del inputs["bias"]
    _check(case, inputs)


@pytest.mark.parametrize(("op", "variant"), [("patch_moments", ""), ("feature_stats", "rfcbam")])
def test_empty_batch_of_statistics(op: str, variant: str) -> None:
    x = torch.empty(0, 4, 6, 5)
    window = Window.create(3).to_ints()
    if op == "patch_moments":
        mean, cov = torch.ops.rfaconv.patch_moments(x, window, "cpu")
        assert mean.isnan().all()
        assert cov.isnan().all()
        return
    weight, bias = torch.zeros(4, 9, 9), torch.zeros(4, 9)
    s0, s1 = torch.ops.rfaconv.feature_stats(x, weight, bias, variant, window, "cpu")
    assert s0.shape == s1.shape == (0, 9, 6, 5)


def test_empty_batch_of_projection() -> None:
    """Nothing in, nothing out, and gradients of zero."""
    case = Case(batch=2)
    inputs = draw(case)
    leaves = {n: v.float().requires_grad_() for n, v in inputs.items() if not n.startswith("d.")}
    x = torch.empty(0, *case.size[:0], case.channels, *case.size, requires_grad=True)
    parts = (leaves["feature_weight"], leaves["feature_bias"], [leaves["gate0"]], leaves["weight"])
    y = torch.ops.rfaconv.project(x, *parts, leaves["bias"], "rfa", 1, case.window.to_ints(), "cpu")
    assert y.shape == (0, 7, 11, 9)
    y.sum().backward()
    for name, leaf in leaves.items():
        if name != "x":
            assert leaf.grad is not None, name
            assert not leaf.grad.any(), name
