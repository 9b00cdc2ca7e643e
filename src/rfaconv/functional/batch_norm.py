"""BatchNorm of the features without the features: from the moments of the patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rfaconv import dispatch, reference
from rfaconv.errors import InvalidArgument
from rfaconv.functional._arguments import check_operand
from rfaconv.functional._select import dtype_name, select
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import accumulation_dtype, fixed_size, fixed_sizes


class BatchNormState(NamedTuple):
    """What a BatchNorm layer holds; every tensor (C * T,).

    Attributes:
        weight: scale gamma, or None for ones.
        bias: shift beta, or None for zeros.
        running_mean: running mean, or None where batch statistics are always used.
        running_var: running unbiased variance, or None.
        num_batches_tracked: counter (), or None.
        momentum: weight of the new batch in the running statistics; None for the plain average.
        eps: added to the variance.
        use_batch_statistics: True in training mode.
        process_group: group over which SyncBatchNorm averages; None for the local batch alone.
        synchronize: True for SyncBatchNorm.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    momentum: float | None
    eps: float
    use_batch_statistics: bool
    process_group: Any = None
    synchronize: bool = False


def fold_features(
    x: Tensor,
    feature_weight: Tensor,
    norm: BatchNormState,
    window: Window,
    backend: str = "auto",
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Folds the BatchNorm of ``z = G u`` into G: ``BatchNorm(G u) = G' u + b'``.

    With batch statistics ``mean(z_j) = g_j . m`` and ``var(z_j) = g_j^T S g_j`` follow from the
    moments m, S of the patches; running statistics are updated in place as by ``nn.BatchNorm2d``.

    Args:
        x: input (B, C, *size).
        feature_weight: G as a grouped convolution's weight (C * T, 1, *kernel).
        norm: state of the BatchNorm over C * T channels.
        window: the sliding window.
        backend: backend of the moments.
        offset: added to z before the BatchNorm (C * T,); None for nothing.

    Returns:
        G' (C, T, T) and b' (C, T) in float32 (float64 for float64 inputs).

    Source: paper, equation 5, the factor ReLU(Norm(g(X))).
    """
    _check(x, feature_weight, norm, window, offset)
    out = window.output_size(x.shape[2:]) if x.dim() > 2 else ()
    return fold(x, feature_weight, norm, window, out, backend, offset)


def fold(
    x: Tensor,
    feature_weight: Tensor,
    norm: BatchNormState,
    window: Window,
    out: Sequence[int],
    backend: str = "auto",
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fold_features` of checked arguments, for a map with ``out`` windows."""
    taps = window.taps
    acc = accumulation_dtype(x.dtype)
    weight = feature_weight.reshape(-1, taps, taps)

    def per_tap(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.view(-1, taps)

    batch = norm.use_batch_statistics and fixed_size(x.shape[0]) > 0
    if batch and offset is None:
        mean, cov, count = _moments(x, norm, window, out, backend)
        gamma, beta = per_tap(norm.weight), per_tap(norm.bias)
        tensors = (weight, mean, cov, gamma, beta)
        chosen = _select_fold(x, window, backend)
        if chosen == dispatch.REFERENCE:
            folded, bias, mean, var = reference.fold_batch_statistics(*tensors, norm.eps)
        else:
            folded, bias, mean, var = torch.ops.rfaconv.fold_statistics(*tensors, norm.eps, chosen)
        _update_running(norm, mean.detach(), var.detach(), count, chosen)
        return folded.to(acc), bias.to(acc)
    if batch:
        weight = weight.double()  # gradients reach it through the statistics too
        mean, cov, count = _moments(x, norm, window, out, backend)
        mean, var = reference.feature_statistics(weight, mean, cov)
        assert offset is not None
        z_mean = mean.flatten() + offset
        _update_running(norm, z_mean.detach(), var.detach(), count)
        # it cancels, but stays in the graph: its gradient is zero, not missing
        mean = (z_mean - offset).view(-1, taps)
    else:
        assert norm.running_mean is not None and norm.running_var is not None
        weight = weight.to(acc)
        mean = norm.running_mean if offset is None else norm.running_mean - offset
        mean, var = mean.view(-1, taps), norm.running_var.view(-1, taps)
    folded, bias = reference.fold_batch_norm(
        weight, mean, var, per_tap(norm.weight), per_tap(norm.bias), norm.eps
    )
    return folded.to(acc), bias.to(acc)


def patch_moments(x: Tensor, window: Window, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Mean ``m = E[u]`` and covariance ``S = E[u u^T] - m m^T`` of the patches of each channel.

    Args:
        x: input (B, C, *size).
        window: the sliding window.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Returns:
        m (C, T) and S (C, T, T), in float64.

    Raises:
        BackendUnavailable: if a backend other than ``auto`` cannot run this; the reason is named.

    Example:
        >>> m, s = patch_moments(torch.randn(2, 4, 7, 6), Window.create(3))
        >>> m.shape, s.shape
        (torch.Size([4, 9]), torch.Size([4, 9, 9]))

    Source: BatchNorm over receptive-field features (paper, equation 5) is linear in the patch.
    """
    chosen = select("patch_moments", "", x, window, 1, backend)
    if chosen == dispatch.REFERENCE:
        return reference.patch_moments(x, window)
    mean, cov = torch.ops.rfaconv.patch_moments(x, window.to_ints(), chosen)
    return mean, cov


def _select_fold(x: Tensor, window: Window, backend: str) -> str:
    """The backend that has the fold as one operation; the reference for some sixty of torch."""
    dtype = dtype_name(x.dtype)
    problem = Problem("fold_statistics", "", x.device.type, dtype, window, x.shape[1])
    return dispatch.select(problem, backend, required=False)


def _check(
    x: Tensor, weight: Tensor, norm: BatchNormState, window: Window, offset: Tensor | None
) -> None:
    if x.dim() not in (2, window.dims + 2):  # two: channels alone, where nothing is measured
        raise InvalidArgument("input", f"{window.dims + 2} dimensions", f"shape {tuple(x.shape)}")
    check_operand("input", x, x)
    width = fixed_size(x.shape[1]) * window.taps
    sizes = tuple(fixed_sizes(weight.shape))
    # of the unfolded version the weight is that of a convolution of single pixels
    if sizes != (width, 1, *window.kernel) and sizes != (width, window.taps, 1, 1):
        expected = f"({width}, 1, *kernel) for {window.taps} taps"
        raise InvalidArgument("feature_weight", expected, f"shape {tuple(weight.shape)}")
    check_operand("feature_weight", weight, x)
    matched_norm(norm, weight)
    if offset is not None:
        check_operand("offset", offset, weight, (width,))


def matched_norm(norm: BatchNormState, weight: Tensor) -> BatchNormState:
    """The BatchNorm, after a check that it fits G.

    Raises:
        InvalidArgument: if it does not.
    """
    if not norm.use_batch_statistics and (norm.running_mean is None or norm.running_var is None):
        raise InvalidArgument("norm", "running statistics", "none")
    tensors = {
        "norm.weight": norm.weight,
        "norm.bias": norm.bias,
        "norm.running_mean": norm.running_mean,
        "norm.running_var": norm.running_var,
    }
    for name, tensor in tensors.items():
        if tensor is not None:
            check_operand(name, tensor, weight, (fixed_size(weight.shape[0]),))
    return norm


class _AllReduce(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of theirs, for each of them uses the result."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = values.clone()
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total, group=ctx.group)
        return total, None


def _moments(
    x: Tensor, norm: BatchNormState, window: Window, out: Sequence[int], backend: str
) -> tuple[Tensor, Tensor, Tensor | int]:
    mean, cov = patch_moments(x, window, backend)
    count = x.shape[0]
    for size in out:
        count *= size
    if not norm.synchronize:
        return mean, cov, count
    # sums over all processes of the count and the raw moments; float64 leaves nothing to cancel
    raw = cov + mean.unsqueeze(-1) * mean.unsqueeze(-2)
    ones = mean.new_ones(1)
    packed = torch.cat([ones, mean.flatten(), raw.flatten()]) * count
    packed = _AllReduce.apply(packed, norm.process_group)
    total = packed[0].detach()
    mean_all = (packed[1 : 1 + mean.numel()] / total).view_as(mean)
    raw_all = (packed[1 + mean.numel() :] / total).view_as(cov)
    return mean_all, raw_all - mean_all.unsqueeze(-1) * mean_all.unsqueeze(-2), total


def _update_running(
    norm: BatchNormState,
    mean: Tensor,
    var: Tensor,
    count: Tensor | int,
    backend: str = dispatch.REFERENCE,
) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    if backend != dispatch.REFERENCE and not isinstance(count, Tensor):
        torch.ops.rfaconv.update_running(
            norm.running_mean, norm.running_var, norm.num_batches_tracked, mean, var, count,
            norm.momentum, backend,
        )  # fmt: skip
        return
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if norm.momentum is not None:
        momentum: float | Tensor = norm.momentum
    else:
        assert norm.num_batches_tracked is not None
        momentum = 1.0 / norm.num_batches_tracked.to(mean.dtype)
    # a single window has no unbiased variance: its biased one, zero, is kept
    correction = (
        count / (count - 1).clamp_min(1) if isinstance(count, Tensor) else count / max(count - 1, 1)
    )
    with torch.no_grad():
        for running, value in ((norm.running_mean, mean), (norm.running_var, var * correction)):
            # the difference in float64, and one operation less for a number than for a tensor
            step = value.flatten() - running
            if isinstance(momentum, float):
                running.add_(step, alpha=momentum)
            else:
                running.add_(step * momentum)
