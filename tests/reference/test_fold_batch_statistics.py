"""The fold that keeps only its arguments: the same values and derivatives as the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rfaconv.reference import fold_batch_statistics
from rfaconv.reference.folding import _fold


def _arguments(with_affine: bool) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    root = normal(3, 4, 4).detach()
    cov = (root @ root.mT + torch.eye(4)).requires_grad_()
    affine: list[Tensor | None] = [normal(3, 4), normal(3, 4)] if with_affine else [None, None]
    return [normal(3, 4, 4), normal(3, 4), cov, *affine]


@pytest.mark.parametrize("with_affine", [True, False])
def test_values(with_affine: bool) -> None:
    arguments = _arguments(with_affine)
    for value, expected in zip(
        fold_batch_statistics(*arguments, 1e-5), _fold(*arguments, 1e-5), strict=True
    ):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("with_affine", [True, False])
def test_first_and_second_derivative(with_affine: bool) -> None:
    arguments = _arguments(with_affine)

    def function(*values: Tensor | None) -> tuple[Tensor, ...]:
        return fold_batch_statistics(*values, 1e-5)[:2]

    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_asymmetric_covariance_gets_the_gradient_of_the_plain_fold() -> None:
    arguments = _arguments(True)
    cov = arguments[2]
    assert cov is not None
    arguments[2] = (cov.detach() + 0.1 * torch.rand(3, 4, 4)).requires_grad_()
    grads = []
    for fold in (fold_batch_statistics, _fold):
        folded, bias, *_ = fold(*arguments, 1e-5)
        grads.append(torch.autograd.grad(folded.sin().sum() + bias.sum(), arguments))
    for value, expected in zip(*grads, strict=True):
        torch.testing.assert_close(value, expected)


def test_constant_feature() -> None:
    """A variance of zero: finite gradients, those of the plain fold."""
    weight = torch.randn(2, 3, 3).requires_grad_()
    mean = torch.randn(2, 3, dtype=torch.float64)
    cov = torch.zeros(2, 3, 3, dtype=torch.float64).requires_grad_()
    grads = []
    for fold in (fold_batch_statistics, _fold):
        folded, bias, *_ = fold(weight, mean, cov, None, None, 1e-5)
        grads.append(torch.autograd.grad(folded.sin().sum() + bias.sum(), [weight, cov]))
    for value, expected in zip(*grads, strict=True):
        assert value.isfinite().all()
        torch.testing.assert_close(value, expected)
