"""BatchNorm of the features, its gradient and its running statistics as one operation each, for
backends that launch.

The same numbers as :func:`rfaconv.reference.folding.fold_batch_statistics` gives; there they are
some sixty small operations of torch, and on a GPU the launches of those take longer than they do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.ops.autograd import reference_gradient
from rfaconv.ops.schema import define, fake

__all__ = ["DEFINITIONS"]

_ARGUMENTS = "Tensor feature_weight, Tensor mean, Tensor cov, Tensor? gamma, Tensor? beta"

DEFINITIONS: dict[str, str] = {
    # G (C, T, T), moments (C, T) and (C, T, T) in float64, gamma and beta (C, T): G' and b' in
    # float32, mean and biased variance of every feature in float64, which have no gradient
    "fold_statistics": (
        f"({_ARGUMENTS}, float eps, str backend) -> "
        "(Tensor folded, Tensor bias, Tensor z_mean, Tensor z_var)"
    ),
    # gradients of gamma and beta come back empty where there is none
    "fold_statistics_backward": (
        f"(Tensor dfolded, Tensor dbias, {_ARGUMENTS}, float eps, str backend) -> "
        "(Tensor dfeature_weight, "
        "Tensor dmean, Tensor dcov, Tensor dgamma, Tensor dbeta)"
    ),
    # running statistics (C * T,) of any dtype, mean and biased variance of every feature in
    # float64, how many windows they are of; no momentum: the plain average of all batches
    "update_running": (
        "(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor(c!)? num_batches_tracked, "
        "Tensor z_mean, Tensor z_var, SymInt count, float? momentum, str backend) -> ()"
    ),
}

define(DEFINITIONS)


@fake("fold_statistics")
def _fold_statistics(
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch._check(mean.dtype == torch.float64, lambda: f"mean: expected float64, got {mean.dtype}")
    return (
        mean.new_empty(cov.shape, dtype=torch.float32),
        mean.new_empty(mean.shape, dtype=torch.float32),
        mean.new_empty(mean.shape),
        mean.new_empty(mean.shape),
    )


@fake("fold_statistics_backward")
def _fold_statistics_backward(
    dfolded: Tensor,
    dbias: Tensor,
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        feature_weight.new_empty(feature_weight.shape),
        mean.new_empty(mean.shape),
        cov.new_empty(cov.shape),
        mean.new_empty((0,)) if gamma is None else gamma.new_empty(gamma.shape),
        mean.new_empty((0,)) if beta is None else beta.new_empty(beta.shape),
    )


@fake("update_running")
def _update_running(
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor | None,
    z_mean: Tensor,
    z_var: Tensor,
    count: int,
    momentum: float | None,
    backend: str,
) -> None:
    torch._check(
        momentum is not None or num_batches_tracked is not None,
        lambda: "num_batches_tracked: an average of all batches needs their number",
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps, ctx.backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    weight, mean, cov, gamma, beta = ctx.saved_tensors
    if torch.is_grad_enabled():

        def fold(weight: Tensor, mean: Tensor, cov: Tensor, *affine: Tensor | None) -> Any:
            gamma, beta = affine
            return reference.fold_batch_statistics(weight, mean, cov, gamma, beta, ctx.eps)[:2]

        return *reference_gradient(fold, [weight, mean, cov, gamma, beta], grads[:2]), None, None
    # either is missing where the loss does not reach it
    dfolded = torch.zeros_like(cov, dtype=torch.float32) if grads[0] is None else grads[0]
    dbias = torch.zeros_like(mean, dtype=torch.float32) if grads[1] is None else grads[1]
    dweight, dmean, dcov, dgamma, dbeta = torch.ops.rfaconv.fold_statistics_backward(
        dfolded, dbias, weight, mean, cov, gamma, beta, ctx.eps, ctx.backend
    )
    return (
        dweight,
        dmean,
        dcov,
        None if gamma is None else dgamma,
        None if beta is None else dbeta,
        None,
        None,
    )


torch.library.register_autograd("rfaconv::fold_statistics", _backward, setup_context=_setup)
