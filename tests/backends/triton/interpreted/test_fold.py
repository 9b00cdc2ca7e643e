"""BatchNorm folded by one kernel, and its gradient, against the reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.backends.triton import fold
from rfaconv.functional import batch_norm
from rfaconv.functional.batch_norm import BatchNormState, fold_features
from rfaconv.geometry import Window
from rfaconv.ops.fold import FOLD_DEFINITIONS

CHANNELS = 3


@pytest.fixture(scope="module")
def on_cpu() -> Iterator[None]:
    """The kernels as those of a CPU, where the interpreter runs them."""
    library = torch.library.Library("rfaconv", "IMPL")
    for name in FOLD_DEFINITIONS:
        library.impl(name, getattr(fold, name), "CPU")
    yield
    library._destroy()


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


@pytest.mark.parametrize("taps", [1, 9, 25])
@pytest.mark.parametrize("affine", ["gb", "g", ""])
@pytest.mark.usefixtures("on_cpu")
def test_fold(taps: int, affine: str) -> None:
    given = draw(taps, affine)
    wanted = reference.fold_batch_statistics(*given, 1e-5)
    found = torch.ops.rfaconv.fold_statistics(*given, 1e-5)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-6)
    assert not found[2].requires_grad
    leaves = [v for v in given if v is not None]
    weights = [torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for v in found[:2]]
    want = torch.autograd.grad(wanted[:2], leaves, [w.double() for w in weights])
    got = torch.autograd.grad(found[:2], leaves, weights)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=1e-5)


@pytest.mark.usefixtures("on_cpu")
def test_constant_map() -> None:
    """No variance: as BatchNorm of a constant, with no gradient through the variance."""
    weight, mean, _, gamma, beta = draw(9, "gb")
    cov = torch.zeros(CHANNELS, 9, 9, dtype=torch.float64, requires_grad=True)
    folded, bias, _, var = torch.ops.rfaconv.fold_statistics(weight, mean, cov, gamma, beta, 1e-5)
    want = reference.fold_batch_statistics(weight, mean, cov, gamma, beta, 1e-5)
    torch.testing.assert_close(bias.double(), want[1], rtol=1e-6, atol=1e-6)
    assert not var.any()
    assert not torch.autograd.grad(folded.sum() + bias.sum(), cov)[0].any()


@pytest.mark.usefixtures("on_cpu")
def test_schema_and_second_derivative() -> None:
    """Fake results are like real ones, and the gradient has a gradient."""
    given = draw(9, "gb")
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        torch.ops.rfaconv.fold_statistics.default, (*given, 1e-5), {}, test_utils=tests
    )
    found = []
    for fold_of in (torch.ops.rfaconv.fold_statistics, reference.fold_batch_statistics):
        loss = fold_of(*given, 1e-5)[0].double().square().sum()
        first = torch.autograd.grad(loss, given, create_graph=True)
        found.append(torch.autograd.grad(sum(g.double().square().sum() for g in first), given))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("on_cpu")
def test_layer_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The running statistics and the fold of a layer are the same with and without the kernel."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, CHANNELS, 5, 4, generator=generator)
    weight = torch.randn(CHANNELS * 9, 1, 3, 3, generator=generator)
    results = []
    for one in (False, True):
        monkeypatch.setattr(batch_norm, "folds_in_one", lambda *_, one=one: one)
        state = BatchNormState(
            None, None, torch.zeros(CHANNELS * 9), torch.ones(CHANNELS * 9), torch.tensor(0), 0.1,
            1e-5, True,
        )  # fmt: skip
        folded = fold_features(x, weight, state, Window.create(3), "reference")
        results.append([*folded, state.running_mean, state.running_var])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
