"""A backend of one file: what docs/internals/adding.md promises is enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d, dispatch, reference
from rfaconv.backends import registry
from rfaconv.backends.base import Backend, Kernel, Status
from rfaconv.errors import BackendUnavailable, InvalidArgument
from rfaconv.geometry import Problem, Window

CALLS: list[str] = []


def patch_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    CALLS.append("patch_moments")
    return reference.patch_moments(x, Window.from_ints(window))


def patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    CALLS.append("patch_moments_backward")
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        moments = reference.patch_moments(x, Window.from_ints(window))
    (dx,) = torch.autograd.grad(moments, x, (dmean, dcov))
    return dx


def project(
    x: Tensor, fw: Tensor, fb: Tensor, gate: Sequence[Tensor], weight: Tensor,
    bias: Tensor | None, variant: str, groups: int, window: Sequence[int],
) -> Tensor:  # fmt: skip
    CALLS.append("project")
    return reference.project(
        x, fw, fb, gate, weight, bias, variant, groups, Window.from_ints(window)
    ).clone()


def project_backward(
    dy: Tensor, x: Tensor, fw: Tensor, fb: Tensor, gate: Sequence[Tensor], weight: Tensor,
    variant: str, groups: int, window: Sequence[int], needs: Sequence[bool],
) -> tuple[Any, ...]:  # fmt: skip
    CALLS.append("project_backward")
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, fw, fb, weight, *gate)]
        x, fw, fb, weight, *gate = leaves
        y = reference.project(
            x, fw, fb, gate, weight, None, variant, groups, Window.from_ints(window)
        )
    dx, dfw, dfb, dweight, *dgate = torch.autograd.grad(y, leaves, dy)
    return dx, dfw, dfb, dweight, dgate


class Toy(Backend):
    """Takes float32 with one group."""

    name: ClassVar[str] = "toy"
    device: ClassVar[str] = "cpu"
    kernels: ClassVar[dict[str, Kernel]] = {
        "patch_moments": patch_moments,
        "patch_moments_backward": patch_moments_backward,
        "project": project,
        "project_backward": project_backward,
    }

    def unsupported(self, problem: Problem) -> str | None:
        if problem.dtype != "float32":
            return f"dtype: expected float32, got {problem.dtype}"
        return None if problem.groups == 1 else f"groups: expected 1, got {problem.groups}"

    def status(self) -> Status:
        return Status(self.name)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    CALLS.clear()
    registry.add(Toy())
    yield
    if "toy" in registry.BACKENDS:
        registry.remove("toy")


def _step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]


def test_a_layer_runs_on_it() -> None:
    layer, x = RFAConv2d(4, 6, 3), torch.randn(2, 4, 7, 6)
    found = _step(layer, x)
    # an image has no gradient, so the moments of its patches need none
    assert CALLS == ["patch_moments", "project", "project_backward"]
    layer(x.requires_grad_()).sum().backward()
    assert CALLS[3:] == [
        "patch_moments", "project", "project_backward", "patch_moments_backward",
    ]  # fmt: skip
    plain = RFAConv2d(4, 6, 3, backend="reference")
    plain.load_state_dict(layer.state_dict())
    for ours, theirs in zip(found, _step(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_auto_asks_it_first_and_others_where_it_refuses() -> None:
    window = Window.create(3)
    problem = Problem("project", "rfa", "cpu", "float32", window, 4)
    assert dispatch.select(problem) == "toy"
    double = Problem("project", "rfa", "cpu", "float64", window, 4)
    assert dispatch.select(double) == "reference"
    assert dispatch.refusals(double)["toy"] == "dtype: expected float32, got float64"


@pytest.mark.parametrize("operator", [RFCBAMConv2d, RFCAConv2d])
def test_an_op_that_it_lacks_is_named(operator: type[nn.Module]) -> None:
    """The statistics have no kernel here: auto mixes backends by op, a name does not."""
    x = torch.randn(2, 4, 7, 6)
    assert operator(4, 6, 3)(x).shape == (2, 6, 7, 6)
    with pytest.raises(BackendUnavailable, match="toy backend has no kernel for feature_stats"):
        operator(4, 6, 3, backend="toy")(x)


def test_it_is_gone_when_it_is_taken_back() -> None:
    registry.remove("toy")
    problem = Problem("project", "rfa", "cpu", "float32", Window.create(3), 4)
    assert "toy" not in dispatch.refusals(problem)
    with pytest.raises(InvalidArgument, match="backend"):
        dispatch.select(problem, "toy")
