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
from rfaconv.ops.autograd import second_derivative
from rfaconv.ops.schema import _fake

__all__ = ["FOLD_DEFINITIONS"]

_ARGUMENTS = "Tensor feature_weight, Tensor mean, Tensor cov, Tensor? gamma, Tensor? beta"

FOLD_DEFINITIONS: dict[str, str] = {
    # G (C, T, T), moments (C, T) and (C, T, T) in float64, gamma and beta (C, T): G' and b' in
    # float32, mean and biased variance of every feature in float64, which have no gradient
    "fold_statistics": (
        f"({_ARGUMENTS}, float eps) -> (Tensor folded, Tensor bias, Tensor z_mean, Tensor z_var)"
    ),
    # gradients of gamma and beta come back empty where there is none
    "fold_statistics_backward": (
        f"(Tensor dfolded, Tensor dbias, {_ARGUMENTS}, float eps) -> (Tensor dfeature_weight, "
        "Tensor dmean, Tensor dcov, Tensor dgamma, Tensor dbeta)"
    ),
    # running statistics (C * T,) of any dtype, mean and biased variance of every feature in
    # float64, how many windows they are of; no momentum: the plain average of all batches
    "update_running": (
        "(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor(c!)? num_batches_tracked, "
        "Tensor z_mean, Tensor z_var, SymInt count, float? momentum) -> ()"
    ),
}

for _name, _schema in FOLD_DEFINITIONS.items():
    torch.library.define(f"rfaconv::{_name}", _schema, tags=(torch.Tag.pt2_compliant_tag,))


@_fake("fold_statistics")
def _fold_statistics(
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch._check(mean.dtype == torch.float64, lambda: f"mean: expected float64, got {mean.dtype}")
    return (
        mean.new_empty(cov.shape, dtype=torch.float32),
        mean.new_empty(mean.shape, dtype=torch.float32),
        mean.new_empty(mean.shape),
        mean.new_empty(mean.shape),
    )


@_fake("fold_statistics_backward")
def _fold_statistics_backward(
    dfolded: Tensor,
    dbias: Tensor,
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        feature_weight.new_empty(feature_weight.shape),
        mean.new_empty(mean.shape),
        cov.new_empty(cov.shape),
        mean.new_empty((0,)) if gamma is None else gamma.new_empty(gamma.shape),
        mean.new_empty((0,)) if beta is None else beta.new_empty(beta.shape),
    )


@_fake("update_running")
def _update_running(
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor | None,
    z_mean: Tensor,
    z_var: Tensor,
    count: int,
    momentum: float | None,
) -> None:
    torch._check(
        momentum is not None or num_batches_tracked is not None,
        lambda: "num_batches_tracked: an average of all batches needs their number",
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    weight, mean, cov, gamma, beta = ctx.saved_tensors
    # either is missing where the loss does not reach it
    dfolded = torch.zeros_like(cov, dtype=torch.float32) if grads[0] is None else grads[0]
    dbias = torch.zeros_like(mean, dtype=torch.float32) if grads[1] is None else grads[1]
    dweight, dmean, dcov, dgamma, dbeta = torch.ops.rfaconv.fold_statistics_backward(
        dfolded, dbias, weight, mean, cov, gamma, beta, ctx.eps
    )
    return (
        dweight,
        dmean,
        dcov,
        None if gamma is None else dgamma,
        None if beta is None else dbeta,
        None,
    )


def _second_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _second(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    dfolded, dbias, weight, mean, cov, gamma, beta = ctx.saved_tensors
    affine = [value for value in (gamma, beta) if value is not None]

    def function(weight: Tensor, mean: Tensor, cov: Tensor, *affine: Tensor) -> tuple[Tensor, ...]:
        rest = list(affine)
        scale, shift = (None if v is None else rest.pop(0) for v in (gamma, beta))
        return reference.fold_batch_statistics(weight, mean, cov, scale, shift, ctx.eps)[:2]

    wanted = [
        *grads[:3],
        *(g for g, v in zip(grads[3:], (gamma, beta), strict=True) if v is not None),
    ]
    dual, primal = second_derivative(
        function, [weight, mean, cov, *affine], [dfolded, dbias], wanted
    )
    found = list(primal[3:])
    return (
        *dual,
        *primal[:3],
        *(None if v is None else found.pop(0) for v in (gamma, beta)),
        None,
    )


torch.library.register_autograd("rfaconv::fold_statistics", _backward, setup_context=_setup)
torch.library.register_autograd(
    "rfaconv::fold_statistics_backward", _second, setup_context=_second_setup
)
