"""BatchNorm folded by one kernel, and its gradient, against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from interpreted.dispatcher import on_cpu
from torch import Tensor, nn

from rfaconv import reference
from rfaconv.functional import batch_norm
from rfaconv.functional.batch_norm import fold_features
from rfaconv.geometry import Window
from rfaconv.nn._norm import norm_state

CHANNELS = 3


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels as those of a CPU, where the interpreter runs them; which of them ran."""
    with on_cpu(monkeypatch) as names:
        yield names


def fold_statistics(*given: Any) -> Any:
    return torch.ops.rfaconv.fold_statistics(*given, "triton")


def draw(taps: int, affine: str, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """G, moments of random patches, gamma and beta."""
    generator = torch.Generator().manual_seed(taps)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    u = 3.0 + normal(CHANNELS, taps, 40)
    mean = u.mean(-1)
    cov = (u - mean.unsqueeze(-1)) @ (u - mean.unsqueeze(-1)).mT / 40
    affines = [normal(CHANNELS, taps).to(dtype) if name in affine else None for name in "gb"]
    values = [normal(CHANNELS, taps, taps).to(dtype), mean, cov, *affines]
    return [None if v is None else v.requires_grad_() for v in values]


@pytest.mark.parametrize("taps", [1, 9])
@pytest.mark.parametrize("affine", ["gb", "g", ""])
def test_fold(taps: int, affine: str) -> None:
    given = draw(taps, affine)
    wanted = reference.fold_batch_statistics(*given, 1e-5)
    found = fold_statistics(*given, 1e-5)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-6)
    assert not found[2].requires_grad
    leaves = [v for v in given if v is not None]
    weights = [torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for v in found[:2]]
    want = torch.autograd.grad(wanted[:2], leaves, [w.double() for w in weights])
    got = torch.autograd.grad(found[:2], leaves, weights)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=1e-5)


def test_constant_map() -> None:
    """No variance: as BatchNorm of a constant, with no gradient through the variance."""
    weight, mean, _, gamma, beta = draw(9, "gb")
    cov = torch.zeros(CHANNELS, 9, 9, dtype=torch.float64, requires_grad=True)
    folded, bias, _, var = fold_statistics(weight, mean, cov, gamma, beta, 1e-5)
    want = reference.fold_batch_statistics(weight, mean, cov, gamma, beta, 1e-5)
    torch.testing.assert_close(bias.double(), want[1], rtol=1e-6, atol=1e-6)
    assert not var.any()
    assert not torch.autograd.grad(folded.sum() + bias.sum(), cov)[0].any()


def test_schema_and_second_derivative() -> None:
    """Fake results are like real ones, and the gradient has a gradient."""
    given = draw(9, "gb")
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        torch.ops.rfaconv.fold_statistics.default, (*given, 1e-5, "triton"), {}, test_utils=tests
    )
    found = []
    for fold_of in (fold_statistics, reference.fold_batch_statistics):
        loss = fold_of(*given, 1e-5)[0].double().square().sum()
        first = torch.autograd.grad(loss, given, create_graph=True)
        found.append(torch.autograd.grad(sum(g.double().square().sum() for g in first), given))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)


def running(
    norm: nn.BatchNorm2d, x: Tensor, weight: Tensor, backend: str = "triton"
) -> list[Tensor]:
    """What one training step in the layer's way leaves in the norm, and G' and b'."""
    folded = fold_features(x, weight, norm_state(norm), Window.create(3), backend)
    return [*folded, *(v.clone() for v in norm.buffers())]


@pytest.mark.parametrize("momentum", [0.1, 1 / 3, 1.0, 0.0, None])
@pytest.mark.parametrize("size", [(2, 5, 4), (1, 1, 1)])
def test_running_statistics(momentum: float | None, size: tuple[int, int, int]) -> None:
    """Three steps of a layer's norm with the kernels, with the reference, and by torch."""
    generator = torch.Generator().manual_seed(3)
    batch, height, width = size
    inputs = 2.0 + torch.randn(3, batch, CHANNELS, height, width, generator=generator)
    weight = torch.randn(CHANNELS * 9, 1, 3, 3, generator=generator)
    results = []
    for backend in ("reference", "triton"):
        norm = nn.BatchNorm2d(CHANNELS * 9, momentum=momentum)
        versions = [v._version for v in norm.buffers()]
        results.append([v for x in inputs for v in running(norm, x, weight, backend)])
        assert all(v._version > old for v, old in zip(norm.buffers(), versions, strict=True))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    if inputs[0].numel() > CHANNELS:  # torch refuses a single window
        stock = nn.BatchNorm2d(CHANNELS * 9, momentum=momentum)
        for x in inputs:
            stock(torch.nn.functional.conv2d(x, weight, None, 1, 1, groups=CHANNELS))
        for got, want in zip(norm.buffers(), stock.buffers(), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_what_a_norm_does_not_track() -> None:
    """No buffers, buffers of another dtype, statistics of several processes."""
    x, weight = torch.randn(2, CHANNELS, 5, 4), torch.randn(CHANNELS * 9, 1, 3, 3)
    assert running(nn.BatchNorm2d(CHANNELS * 9, track_running_stats=False), x, weight)[2:] == []
    frozen = nn.BatchNorm2d(CHANNELS * 9)
    frozen.track_running_stats = False
    assert not any(v.any() for v in running(frozen, x, weight)[2:5:2])
    half, whole = nn.BatchNorm2d(CHANNELS * 9).half(), nn.BatchNorm2d(CHANNELS * 9)
    given = x.half(), weight.half()  # with a map of float32 such a norm is refused
    for got, want in zip(running(half, *given), running(whole, *given), strict=True):
        torch.testing.assert_close(got, want.to(got.dtype))
    state = norm_state(nn.BatchNorm2d(CHANNELS * 9))
    mean, var = torch.randn(2, CHANNELS, 9, dtype=torch.float64)
    count = torch.tensor(40.0, dtype=torch.float64)  # as the processes sum it
    batch_norm._update_running(state, mean, var, count, "triton")
    torch.testing.assert_close(state.running_mean, 0.1 * mean.flatten().float())


def test_running_statistics_declare_what_they_change() -> None:
    """The schema says so, and a compiled step changes them once."""
    operation = torch.ops.rfaconv.update_running.default
    mean, var = torch.randn(2, CHANNELS, 9, dtype=torch.float64)

    def buffers() -> list[Tensor]:
        return [torch.zeros(CHANNELS * 9), torch.ones(CHANNELS * 9), torch.tensor(0)]

    for momentum in (0.1, None):
        torch.library.opcheck(operation, (*buffers(), mean, var, 40, momentum, "triton"), {})

    def step(running_mean: Tensor, running_var: Tensor, seen: Tensor) -> Tensor:
        before = running_mean + 1.0
        torch.ops.rfaconv.update_running(
            running_mean, running_var, seen, mean, var, 40, 0.1, "triton"
        )
        return before + running_mean + seen

    eager, compiled = buffers(), buffers()
    want = step(*eager)
    got = torch.compile(step, backend="aot_eager", fullgraph=True)(*compiled)
    for one, other in zip([got, *compiled], [want, *eager], strict=True):
        torch.testing.assert_close(one, other)
    assert int(compiled[2]) == 1
