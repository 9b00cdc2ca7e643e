"""BatchNorm of the features from the moments of the patches, and folded into the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rfaconv.reference.features import functorch_active, tracing


def feature_statistics(feature_weight: Tensor, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Batch statistics of ``z = G u``: ``mean_j = g_j . m`` and ``var_j = g_j^T S g_j``.

    Args:
        feature_weight: G (C, T, T).
        mean: m = E[u] (C, T).
        cov: S = E[u u^T] - m m^T (C, T, T).

    Returns:
        Mean and biased variance of every feature, each (C, T), in the dtype of ``mean``.
    """
    g = feature_weight.to(mean.dtype)
    z_mean, g_cov = _products(g, mean, cov)
    z_var = (g_cov * g).sum(-1)
    # rounding can leave a tiny negative variance where a feature is constant; there its gradient is
    # zero in every torch, which that of clamp at its bound is not
    return z_mean, z_var.relu()


def _products(g: Tensor, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """``g_j . m`` (C, T) and ``G S`` (C, T, T), as one product of matrices.

    What Inductor up to 2.8 makes of the first alone writes beyond its result.
    """
    both = g @ torch.cat([cov, mean.unsqueeze(-1)], -1)
    return both[..., -1], both[..., :-1]


def fold_batch_norm(
    feature_weight: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Folds a BatchNorm over ``z = G u`` into G and a bias: ``G' u + b' = BatchNorm(G u)``.

    Scale and bias are computed in float64: they are tiny, and the bias is a difference of large
    numbers where the input has a large mean.

    Args:
        feature_weight: G (C, T, T).
        mean: mean of z (C, T).
        var: variance of z (C, T).
        gamma: scale (C, T) or None for ones.
        beta: shift (C, T) or None for zeros.
        eps: added to the variance.

    Returns:
        G' (C, T, T) in the dtype of G, and b' (C, T) in float64.
    """
    scale = torch.rsqrt(var.double() + eps)
    if gamma is not None:
        scale = scale * gamma.double()
    bias = -scale * mean.double()
    if beta is not None:
        bias = bias + beta.double()
    return feature_weight * scale.to(feature_weight.dtype).unsqueeze(-1), bias


def fold_batch_statistics(
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`feature_statistics`, then :func:`fold_batch_norm` with them, in float64.

    Keeps only its arguments for the backward pass: where maps are small, intermediate (C, T, T)
    tensors would weigh more than the maps.

    Args:
        feature_weight: G (C, T, T).
        mean: m = E[u] (C, T).
        cov: S = E[u u^T] - m m^T (C, T, T).
        gamma: scale (C, T) or None for ones.
        beta: shift (C, T) or None for zeros.
        eps: added to the variance.

    Returns:
        G' (C, T, T), b' (C, T), and mean and biased variance of every feature (C, T).
    """
    arguments = (feature_weight, mean, cov, gamma, beta)
    # neither a transform nor a traced graph can hold a function with gradients of its own
    transformed = functorch_active() or torch.autograd.forward_ad._current_level >= 0
    if transformed or tracing():
        return _fold(*arguments, eps)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _Fold.apply(*arguments, eps)
    return result


def _fold(
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    weight = feature_weight.double()
    z_mean, z_var = feature_statistics(weight, mean, cov)
    folded, bias = fold_batch_norm(weight, z_mean, z_var, gamma, beta, eps)
    return folded, bias, z_mean, z_var


class _Fold(torch.autograd.Function):
    """Gradients from the arguments alone, by operations that can be differentiated again."""

    @staticmethod
    def forward(
        feature_weight: Tensor,
        mean: Tensor,
        cov: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _fold(feature_weight, mean, cov, gamma, beta, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.eps = inputs
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        feature_weight, m, cov, gamma, beta = ctx.saved_tensors
        d_folded, d_bias = grads[:2]
        g = feature_weight.double()
        mean, g_cov = _products(g, m, cov)
        var = (g_cov * g).sum(-1)
        root = torch.rsqrt(var.clamp_min(0.0) + ctx.eps)
        scale = root if gamma is None else root * gamma.double()
        d_scale = (d_folded * g).sum(-1) - d_bias * mean
        d_root = d_scale if gamma is None else d_scale * gamma.double()
        d_var = torch.where(var > 0, -0.5 * root**3 * d_root, 0.0)
        d_mean = -scale * d_bias
        symmetric = g_cov + g @ cov.mT
        d_weight = scale.unsqueeze(-1) * d_folded + d_mean.unsqueeze(-1) * m.unsqueeze(1)
        d_weight = d_weight + d_var.unsqueeze(-1) * symmetric
        scaled = torch.cat([g * d_var.unsqueeze(-1), d_mean.unsqueeze(-1)], -1)
        d_moments = scaled.mT @ g
        return (
            d_weight.to(feature_weight.dtype),
            d_moments[:, -1],
            d_moments[:, :-1],
            None if gamma is None else (d_scale * root).to(gamma.dtype),
            None if beta is None else d_bias.to(beta.dtype),
            None,
        )
