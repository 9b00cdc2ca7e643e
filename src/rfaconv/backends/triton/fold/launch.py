"""BatchNorm of the features from the moments, its gradient and its running statistics, one launch
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_float
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import check_operand
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import power_of_two
from rfaconv.backends.triton.fold.kernels import (
    fold_backward,
    fold_forward,
    fold_with_running,
    track_statistics,
)

__all__ = ["fold_running", "fold_statistics", "fold_statistics_backward", "update_running"]


def fold_statistics(
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """G', b', and mean and variance of every feature; see the schema of the op."""
    channels, taps = mean.shape
    check_operand("feature_weight", feature_weight, (channels, taps, taps), mean)
    check_operand("cov", cov, (channels, taps, taps), mean)
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value is not None:
            check_operand(name, value, (channels, taps), mean)
    single: dict[str, Any] = {"dtype": torch.float32, "device": mean.device}
    folded, bias = torch.empty(cov.shape, **single), torch.empty(mean.shape, **single)
    z_mean, z_var = torch.empty_like(mean), torch.empty_like(mean)
    results = {"p_folded": folded, "p_bias": bias, "p_mean": z_mean, "p_var": z_var}
    _launch(fold_forward, feature_weight, mean, cov, gamma, beta, eps, results)
    return folded, bias, z_mean, z_var


def fold_running(
    feature_weight: Tensor, norm: Sequence[Tensor | None], eps: float
) -> tuple[Tensor, Tensor]:
    """G' and b' from running mean and variance, scale and shift of the features (C * T,), in the
    dtype of G: as a model holds them that was fused in it.
    """
    channels, taps, _ = feature_weight.shape
    mean, var, gamma, beta = (None if v is None else v.contiguous() for v in norm)
    folded = torch.empty_like(feature_weight, memory_format=torch.contiguous_format)
    bias = folded.new_empty((channels, taps))
    launch(
        fold_with_running,
        (channels,),
        feature_weight,
        {
            "p_g": feature_weight.contiguous(), "p_mean": mean, "p_var": var,
            "p_gamma": mean if gamma is None else gamma, "p_beta": mean if beta is None else beta,
            "p_folded": folded, "p_bias": bias, "EPS": eps, "T": taps,
            "TAPS": power_of_two(taps), "HAS_GAMMA": gamma is not None,
            "HAS_BETA": beta is not None,
        },
        num_warps=1,
    )  # fmt: skip
    return folded, bias


def fold_statistics_backward(
    dfolded: Tensor,
    dbias: Tensor,
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of all arguments; see the schema of the op."""
    dg = torch.empty(feature_weight.shape, dtype=feature_weight.dtype, device=mean.device)
    dm, dcov = torch.empty(mean.shape, **_like(mean)), torch.empty(cov.shape, **_like(mean))
    dgamma, dbeta = (
        mean.new_empty((0,)) if v is None else torch.empty(v.shape, **_like(v))
        for v in (gamma, beta)
    )
    arguments = {
        "p_df": dfolded.contiguous(), "p_db": dbias.contiguous(), "p_dg": dg, "p_dm": dm,
        "p_dcov": dcov, "p_dgamma": dgamma, "p_dbeta": dbeta,
    }  # fmt: skip
    _launch(fold_backward, feature_weight, mean, cov, gamma, beta, eps, arguments)
    return dg, dm, dcov, dgamma, dbeta


def update_running(
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor | None,
    z_mean: Tensor,
    z_var: Tensor,
    count: int,
    momentum: float | None,
) -> None:
    """Running statistics in place, as ``nn.BatchNorm2d`` has them; see the schema of the op."""
    average = momentum is None
    if average:
        assert num_batches_tracked is not None
        num_batches_tracked.add_(1)  # every program reads it
    size, block = z_mean.numel(), 512
    # a float argument is rounded to float32; two of them hold the momentum
    high = c_float(momentum or 0.0).value
    launch(
        track_statistics,
        (cdiv(size, block),),
        z_mean,
        {
            "p_mean": z_mean.contiguous(), "p_var": z_var.contiguous(), "p_rmean": running_mean,
            "p_rvar": running_var,
            "p_seen": z_mean if num_batches_tracked is None else num_batches_tracked,
            "rmean_s": running_mean.stride(0), "rvar_s": running_var.stride(0), "count": count,
            "high": high, "low": (momentum or 0.0) - high, "size": size, "AVERAGE": average,
            "COUNTED": not average and num_batches_tracked is not None, "BLOCK": block,
        },
        num_warps=4,
    )  # fmt: skip
    written = (running_mean, running_var, None if average else num_batches_tracked)
    # autograd must notice that they changed, as it does after an operation of torch
    torch.autograd.graph.increment_version(
        [v for v in written if v is not None and not v.is_inference()]
    )


def _like(value: Tensor) -> dict[str, Any]:
    return {"dtype": value.dtype, "device": value.device}


def _launch(
    kernel: Any,
    feature_weight: Tensor,
    mean: Tensor,
    cov: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    arguments: dict[str, Any],
) -> None:
    channels, taps = mean.shape
    shared = {
        "p_g": feature_weight.contiguous(), "p_m": mean.contiguous(), "p_cov": cov.contiguous(),
        "p_gamma": mean if gamma is None else gamma.contiguous(), "EPS": eps, "T": taps,
        "TAPS": power_of_two(taps), "HAS_GAMMA": gamma is not None, "HAS_BETA": beta is not None,
    }  # fmt: skip
    if kernel is fold_forward:
        shared["p_beta"] = mean if beta is None else beta.contiguous()
    launch(kernel, (channels,), mean, {**shared, **arguments}, num_warps=1 if taps <= 9 else 4)
