"""The operators that the paper compares with: attention on the map, then a convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rfaconv._autocast import without_autocast
from rfaconv.errors import InvalidArgument
from rfaconv.functional._arguments import (
    check_operand,
    check_pointwise,
    check_spatial,
    check_weight,
    fitted,
    prepare_input,
)
from rfaconv.geometry import Window
from rfaconv.reference.features import accumulation_dtype, convolve, fixed_size, mean, tracing


def channel_gate(x: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> Tensor:
    """CAM: ``sigmoid(W2 relu(W1 max(x)) + W2 relu(W1 mean(x)))``.

    Args:
        x: input (B, C, *size).
        reduce_weight: W1 (hidden, C) or (hidden, C, 1, 1).
        expand_weight: W2 (C, hidden) or (C, hidden, 1, 1).

    Returns:
        (B, C), entries in (0, 1).

    Source: CBAM's channel attention; the paper's CAMConv and CBAMConv.
    """
    channels, width = fixed_size(x.shape[1]), fixed_size(reduce_weight.shape[0])
    check_pointwise("reduce_weight", reduce_weight, x, (width, channels), x.dtype)
    check_pointwise("expand_weight", expand_weight, x, (channels, width), x.dtype)
    with without_autocast(x):
        acc = accumulation_dtype(x.dtype)
        spatial = tuple(range(2, x.dim()))
        # not along the batch: ncnn's graphs have no such axis
        pooled = torch.stack([x.amax(spatial).to(acc), mean(x, spatial)], 1)
        hidden = (pooled @ reduce_weight.to(acc).flatten(1).t()).relu()
        return (hidden @ expand_weight.to(acc).flatten(1).t()).sum(1).sigmoid()


def spatial_gate(x: Tensor, spatial_weight: Tensor) -> Tensor:
    """CBAM's spatial attention: ``sigmoid(conv([max_c x, mean_c x]))``.

    Args:
        x: input (B, C, *size).
        spatial_weight: (1, 2, *kernel), published with a kernel of 7.

    Returns:
        (B, 1, *size), entries in (0, 1).

    Source: CBAM's spatial attention; the paper's CBAMConv.
    """
    check_spatial(spatial_weight, x, x.dim() - 2)
    check_operand("spatial_weight", spatial_weight, x)
    with without_autocast(x):
        acc = accumulation_dtype(x.dtype)
        maps = torch.cat([x.amax(1, keepdim=True).to(acc), mean(x, 1, True)], 1)
        kernel = [fixed_size(size) for size in spatial_weight.shape[2:]]
        window = Window.create(kernel, dims=x.dim() - 2)
        return convolve(maps, spatial_weight.to(acc), None, window, 1).sigmoid()


def cam_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reduce_weight: Tensor,
    expand_weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Channel attention, then a convolution: ``conv(x * channel_gate(x))``.

    Args:
        x: input (B, C, *size).
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        reduce_weight: (hidden, C).
        expand_weight: (C, hidden).
        stride: as of a convolution.
        padding: as of a convolution; None for ``dilation * (kernel - 1) // 2``.
        dilation: as of a convolution.
        groups: as of a convolution.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.

    Source: paper, section 4, CAMConv.
    """

    def attend(values: Tensor) -> Tensor:
        return apply_gate(values, channel_gate(values, reduce_weight, expand_weight))

    return _attend_and_convolve(x, weight, bias, attend, stride, padding, dilation, groups)


def cbam_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reduce_weight: Tensor,
    expand_weight: Tensor,
    spatial_weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Channel attention, then spatial attention, then a convolution.

    Args:
        x: input (B, C, *size).
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        reduce_weight: (hidden, C).
        expand_weight: (C, hidden).
        spatial_weight: (1, 2, *kernel).
        stride: as of a convolution.
        padding: as of a convolution; None for ``dilation * (kernel - 1) // 2``.
        dilation: as of a convolution.
        groups: as of a convolution.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.

    Source: paper, section 4, CBAMConv.
    """

    def attend(values: Tensor) -> Tensor:
        values = apply_gate(values, channel_gate(values, reduce_weight, expand_weight))
        return apply_gate(values, spatial_gate(values, spatial_weight))

    return _attend_and_convolve(x, weight, bias, attend, stride, padding, dilation, groups)


def ca_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    gates: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Coordinate attention, then a convolution.

    Args:
        x: input (B, C, *size).
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        gates: from the means of x (one (B, C, size_i) per spatial dimension) to gates of the
            same shapes, for example :func:`coordinate_gates`.
        stride: as of a convolution.
        padding: as of a convolution; None for ``dilation * (kernel - 1) // 2``.
        dilation: as of a convolution.
        groups: as of a convolution.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.

    Source: paper, section 4, CAConv.
    """

    def attend(values: Tensor) -> Tensor:
        return apply_coordinate_gates(values, gates(axis_means(values)))

    return _attend_and_convolve(x, weight, bias, attend, stride, padding, dilation, groups)


def apply_gate(x: Tensor, gate: Tensor) -> Tensor:
    """``x * gate`` for a gate (B, C) of channels or one that broadcasts; in the dtype of x."""
    return x * gate.view(*gate.shape, *(1,) * (x.dim() - gate.dim())).to(x.dtype)


def axis_means(x: Tensor) -> tuple[Tensor, ...]:
    """Means of x (B, C, *size) over all spatial dimensions but one: (B, C, size_i) each."""
    acc = accumulation_dtype(x.dtype)
    spatial = range(2, x.dim())
    result = []
    for axis in spatial:
        others = [i for i in spatial if i != axis]
        result.append(mean(x, others) if others else x.to(acc))
    return tuple(result)


def apply_coordinate_gates(x: Tensor, gates: Sequence[Tensor]) -> Tensor:
    """``x * a_1 * a_2 ...`` for one gate (B, C, size_i) per spatial dimension."""
    dims = x.dim() - 2
    if not tracing():
        if len(gates) != dims:
            raise InvalidArgument("gates", f"{dims} tensors", f"{len(gates)}")
        for gate, size in zip(gates, x.shape[2:], strict=True):
            check_operand("gates", gate, x, (*x.shape[:2], size))
    for axis, gate in enumerate(gates):
        shape = [*gate.shape[:2], *(1,) * dims]
        shape[2 + axis] = gate.shape[2]
        x = x * gate.view(shape).to(x.dtype)
    return x


def _attend_and_convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attend: Callable[[Tensor], Tensor],
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str | None,
    dilation: int | Sequence[int],
    groups: int,
) -> Tensor:
    channels = weight.shape[1] * groups
    dims = check_weight(weight, groups)
    window = Window.create(tuple(weight.shape[2:]), stride, padding, dilation, dims=dims)
    x = fitted(x, weight, bias, channels, window, groups)
    x = attend(prepare_input(x, window))
    return convolve_attended(x, weight, bias, window, groups)


def convolve_attended(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int
) -> Tensor:
    """The convolution behind the attention, in the dtype of x."""
    shift = None if bias is None else bias.to(x.dtype)
    return convolve(x, weight.to(x.dtype), shift, window, groups)
