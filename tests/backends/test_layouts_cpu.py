"""Strides and layouts: what comes in any layout gives the same numbers, and comes out in the layout
of the input.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rfaconv.backends.cases import Case, draw
from rfaconv.variants import GATES

pytestmark = pytest.mark.usefixtures("cpu_library", "poisoned_memory")


def _inside(x: Tensor) -> Tensor:
    """The same values inside a larger tensor full of NaN: reading past an edge shows."""
    b, c, h, w = x.shape
    big = torch.full((b + 1, c + 2, h + 3, w + 4), torch.nan, dtype=x.dtype)
    view = big[:b, 1 : c + 1, 2 : h + 2, 3 : w + 3]
    view.copy_(x)
    return view


def _inside_channels_last(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    big = torch.full((b, h, w, c + 5), torch.nan, dtype=x.dtype)
    view = big[..., 2 : c + 2].permute(0, 3, 1, 2)
    view.copy_(x)
    return view


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous().transpose(2, 3)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "inside": _inside,
    "inside-channels_last": _inside_channels_last,
    "transposed": _transposed,
}


def _run(case: Case, arrange: Callable[[Tensor], Tensor], dy_layout: str) -> dict[str, Tensor]:
    inputs = draw(case)
    dtype = {"x": case.dtype, "weight": case.dtype, "bias": case.dtype}
    leaves = {
        n: v.to(dtype.get(n, torch.float32)) for n, v in inputs.items() if not n.startswith("d.")
    }
    leaves["x"] = arrange(leaves["x"])
    for leaf in leaves.values():
        leaf.requires_grad_()
    gate = [v for n, v in leaves.items() if n.startswith("gate")]
    parts = (leaves["feature_weight"], leaves["feature_bias"], gate, leaves["weight"])
    window = case.window.to_ints()
    y = torch.ops.rfaconv.project(
        leaves["x"], *parts, leaves["bias"], case.variant, 1, window, "cpu"
    )
    dy = LAYOUTS[dy_layout](inputs["d.y"].to(case.dtype))
    grads = torch.autograd.grad(y, list(leaves.values()), dy)
    return {"y": y.detach(), **{f"d{n}": g for n, g in zip(leaves, grads, strict=True)}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("variant", GATES)
def test_layout_of_the_map(variant: str, layout: str, dtype: torch.dtype) -> None:
    case = Case(variant=variant, channels=6, size=(9, 14), dtype=dtype)
    expected = _run(case, LAYOUTS["contiguous"], "contiguous")
    results = _run(case, LAYOUTS[layout], "contiguous")
    last = "channels_last" in layout
    memory_format = torch.channels_last if last else torch.contiguous_format
    assert results["y"].is_contiguous(memory_format=memory_format)
    assert results["dx"].is_contiguous(memory_format=memory_format)
    bound = 1e-5 if dtype == torch.float32 else 0.02
    for name, value in expected.items():
        torch.testing.assert_close(results[name], value, rtol=bound, atol=bound, msg=name)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_layout_of_the_gradient(layout: str) -> None:
    case = Case(channels=6, size=(9, 14))
    expected = _run(case, LAYOUTS["contiguous"], "contiguous")
    for name, value in _run(case, LAYOUTS["contiguous"], layout).items():
        if name == "dbias":  # torch's own sum, whose order follows the layout
            torch.testing.assert_close(value, expected[name])
        else:
            assert torch.equal(value, expected[name]), name


def test_expanded_gradient() -> None:
    """The gradient of a sum has strides of zero."""
    x = torch.randn(2, 4, 7, 6, requires_grad=True)
    g, b, w = torch.randn(4, 9, 9), torch.randn(4, 9), torch.randn(5, 4, 3, 3)
    window = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]
    y = torch.ops.rfaconv.project(x, g, b, [], w, None, "none", 1, window, "cpu")
    (from_sum,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (from_ones,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(from_sum, from_ones)


# one chunk of channels, and several of which the last is shorter
@pytest.mark.parametrize("channels", [4, 45])
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "inside"])
def test_layout_of_the_weight(layout: str, channels: int) -> None:
    x = torch.randn(2, channels, 7, 6)
    g, b = torch.randn(channels, 9, 9), torch.randn(channels, 9)
    weight = torch.randn(5, channels, 3, 3)
    arranged = LAYOUTS[layout](weight).requires_grad_()
    weight.requires_grad_()
    window = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]
    results = []
    for w in (weight, arranged):
        y = torch.ops.rfaconv.project(x, g, b, [], w, None, "none", 1, window, "cpu")
        results.append((y, *torch.autograd.grad(y.square().sum(), w)))
    for first, second in zip(*results, strict=True):
        scale = float(first.detach().abs().max())
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6 * scale)


def test_inputs_are_left_alone() -> None:
    case = Case(variant="rfcbam")
    inputs = {n: v.float() for n, v in draw(case).items() if not n.startswith("d.")}
    before = {n: v.clone() for n, v in inputs.items()}
    gate = [inputs["gate0"], inputs["gate1"]]
    parts = (inputs["feature_weight"], inputs["feature_bias"], gate, inputs["weight"])
    torch.ops.rfaconv.project(
        inputs["x"], *parts, inputs["bias"], "rfcbam", 1, case.window.to_ints(), "cpu"
    )
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), name
