"""The receptive-field attention operators, composed of the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rfaconv._autocast import without_autocast
from rfaconv.functional._arguments import (
    as_given,
    check_operand,
    check_shape,
    check_weight,
    fitted,
    prepare_input,
)
from rfaconv.functional.field import ReceptiveField, feature_stats, receptive_field
from rfaconv.functional.pixel import pixel_gate
from rfaconv.functional.projection import project
from rfaconv.geometry import Window
from rfaconv.reference.features import (
    accumulation_dtype,
    convolve,
    fixed_size,
    fixed_sizes,
    pad,
    tap_slice,
    tracing,
    unflatten,
)


def rfa_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    attention_weight: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Receptive-field attention convolution.

    ``y = K (softmax_j(w[c,j] * mean(u[c])) * relu(G'[c] u[c] + b'[c])) + bias`` for every patch u.

    Args:
        x: input (B, C, *size), one to three spatial dimensions.
        weight: final weight (O, C/groups, *kernel), K = weight.reshape(O, -1).
        bias: (O,) or None.
        attention_weight: w (C, T), T taps.
        feature_weight: G' (C, T, T), BatchNorm folded in, see :func:`fold_features`.
        feature_bias: b' (C, T).
        stride: step of the window, in pixels.
        padding: zeros around the map, in pixels; None for ``dilation * (kernel - 1) // 2``.
        dilation: distance of neighbouring taps, in pixels.
        groups: groups of the final convolution.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Returns:
        (B, O, *out), out as of a convolution.

    Raises:
        InvalidArgument: if a shape or dtype does not fit.
        BackendUnavailable: if a named backend cannot run this.

    Example:
        >>> x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4, 3, 3)
        >>> parts = dict(attention_weight=torch.zeros(4, 9), feature_bias=torch.zeros(4, 9))
        >>> g = torch.eye(9).repeat(4, 1, 1)
        >>> rfa_conv(x, weight, feature_weight=g, stride=2, **parts).shape
        torch.Size([2, 6, 5, 4])

    Source: paper, equation 5.
    """
    field = _field(
        x,
        weight,
        bias,
        feature_weight,
        feature_bias,
        "rfa",
        stride,
        padding,
        dilation,
        groups,
        backend,
    )
    check_shape("attention_weight", attention_weight, tuple(feature_bias.shape))
    return as_given(project(field, (attention_weight,), weight, bias), x, field.window)


def rfcbam_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    channel_gate: Tensor,
    spatial_weight: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    """CBAM on the receptive-field feature: channel and spatial gate at the same time.

    ``a[b,c,j,p] = channel[b,c] * sigmoid(conv([max_c f, mean_c f]))[b,j,p]``, the convolution over
    the enlarged map in which the taps of a window lie side by side.

    Args:
        x: input (B, C, *size).
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        channel_gate: (B, C), for example of :func:`squeeze_excite`.
        spatial_weight: (1, 2, *kernel), published with a kernel of 3.
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        stride: step of the window, in pixels.
        padding: zeros around the map, in pixels; None for ``dilation * (kernel - 1) // 2``.
        dilation: distance of neighbouring taps, in pixels.
        groups: groups of the final convolution.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.
        BackendUnavailable: if a named backend cannot run this.

    Example:
        >>> x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4, 3, 3)
        >>> g, b = torch.eye(9).repeat(4, 1, 1), torch.zeros(4, 9)
        >>> parts = dict(feature_weight=g, feature_bias=b)
        >>> gates = dict(channel_gate=torch.ones(2, 4), spatial_weight=torch.zeros(1, 2, 3, 3))
        >>> rfcbam_conv(x, weight, **gates, **parts).shape
        torch.Size([2, 6, 9, 8])

    Source: paper, section 3.3.
    """
    field = _field(
        x, weight, bias, feature_weight, feature_bias, "rfcbam", stride, padding, dilation, groups,
        backend,
    )  # fmt: skip
    check_shape("channel_gate", channel_gate, tuple(field.x.shape[:2]))
    maximum, mean = feature_stats(field)
    pixel = pixel_gate(maximum, mean, spatial_weight, field.window, backend)
    return as_given(project(field, (channel_gate, pixel), weight, bias), x, field.window)


def rfca_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    gates: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    feature_weight: Tensor,
    feature_bias: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Coordinate attention on the receptive-field feature.

    ``a[b,c,j,p] = row[b,c,kh*h + j//kw] * col[b,c,kw*w + j%kw]``.

    Args:
        x: input (B, C, *size).
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        gates: from the means of the enlarged map (one (B, C, k_i * out_i) per spatial dimension)
            to gates of the same shapes, for example :func:`coordinate_gates`.
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        stride: step of the window, in pixels.
        padding: zeros around the map, in pixels; None for ``dilation * (kernel - 1) // 2``.
        dilation: distance of neighbouring taps, in pixels.
        groups: groups of the final convolution.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.
        BackendUnavailable: if a named backend cannot run this.

    Example:
        >>> x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4, 3, 3)
        >>> g, b = torch.eye(9).repeat(4, 1, 1), torch.zeros(4, 9)
        >>> parts = dict(feature_weight=g, feature_bias=b)
        >>> rfca_conv(x, weight, gates=lambda means: [m.sigmoid() for m in means], **parts).shape
        torch.Size([2, 6, 9, 8])

    Source: paper, section 3.3.
    """
    field = _field(
        x,
        weight,
        bias,
        feature_weight,
        feature_bias,
        "rfca",
        stride,
        padding,
        dilation,
        groups,
        backend,
    )
    return as_given(project(field, gates(feature_stats(field)), weight, bias), x, field.window)


def unfold_rfa_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    attention_weight: Tensor,
    attention_bias: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Receptive-field attention on the patches themselves.

    ``y = K (softmax_j(W'[c] u[c] + b'[c]) * u[c]) + bias``: the extraction without parameters.

    Args:
        x: input (B, C, *size).
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        attention_weight: W' (C, T, T), BatchNorm folded in.
        attention_bias: b' (C, T).
        stride: step of the window, in pixels.
        padding: zeros around the map, in pixels; None for ``dilation * (kernel - 1) // 2``.
        dilation: distance of neighbouring taps, in pixels.
        groups: groups of the final convolution.

    Returns:
        (B, O, *out).

    Raises:
        InvalidArgument: if a shape or dtype does not fit.

    Example:
        >>> x, weight = torch.randn(2, 4, 9, 8), torch.randn(6, 4, 3, 3)
        >>> w, b = torch.zeros(4, 9, 9), torch.zeros(4, 9)
        >>> unfold_rfa_conv(x, weight, attention_weight=w, attention_bias=b).shape
        torch.Size([2, 6, 9, 8])

    Source: paper, section 3.2, receptive-field spatial feature by Unfold.
    """
    dims = check_weight(weight, groups, attention_bias.shape[0])
    window = Window.create(tuple(weight.shape[2:]), stride, padding, dilation, dims=dims)
    channels = attention_bias.shape[0]
    check_shape("attention_weight", attention_weight, (channels, window.taps, window.taps))
    batch = prepare_input(fitted(x, weight, bias, channels, window, groups), window)
    y = attend_patches(batch, weight, bias, attention_weight, attention_bias, window, groups)
    return as_given(y, x, window)


def attend_patches(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attention_weight: Tensor,
    attention_bias: Tensor,
    window: Window,
    groups: int,
) -> Tensor:
    """:func:`unfold_rfa_conv` of a prepared input."""
    channels = fixed_size(x.shape[1])
    check_operand("attention_weight", attention_weight, x, (channels, window.taps, window.taps))
    check_operand("attention_bias", attention_bias, x, (channels, window.taps))
    with without_autocast(x):
        acc = accumulation_dtype(x.dtype)
        kernel = attention_weight.to(acc).reshape(-1, 1, *window.kernel)
        logits = convolve(x.to(acc), kernel, attention_bias.to(acc).flatten(), window, channels)
        return attend_logits(x, weight, bias, logits, window, groups)


def attend_logits(
    x: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor, window: Window, groups: int
) -> Tensor:
    """:func:`unfold_rfa_conv` of a prepared input and normalised logits (B, C * T, *out)."""
    batch, channels, *size = fixed_sizes(x.shape)
    shape = (batch, channels * window.taps, *window.output_size(size))
    check_operand("attention_norm", logits, x, None if tracing() else shape)
    with without_autocast(x):
        logits = logits.to(accumulation_dtype(x.dtype))
        gate = unflatten(logits, 1, (fixed_size(x.shape[1]), window.taps)).softmax(2)
        padded = pad(x, window)
        patches = [padded[tap_slice(index, window)] for index in window.tap_indices()]
        # flat before the product, as in the reference's projection
        panel = (torch.stack(patches, dim=2).flatten(1, 2) * gate.flatten(1, 2)).to(x.dtype)
        matrix = weight.to(x.dtype).flatten(1).unflatten(1, (-1, *(1,) * window.dims))
        point = Window.create(1, dims=window.dims)
        return convolve(panel, matrix, None if bias is None else bias.to(x.dtype), point, groups)


def _field(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feature_weight: Tensor,
    feature_bias: Tensor,
    variant: str,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str | None,
    dilation: int | Sequence[int],
    groups: int,
    backend: str,
) -> ReceptiveField:
    channels = feature_bias.shape[0]
    dims = check_weight(weight, groups, channels)
    window = Window.create(tuple(weight.shape[2:]), stride, padding, dilation, dims=dims)
    x = prepare_input(fitted(x, weight, bias, channels, window, groups), window)
    check_operand("feature_weight", feature_weight, x, (channels, window.taps, window.taps))
    check_operand("feature_bias", feature_bias, x, (channels, window.taps))
    return receptive_field(x, feature_weight, feature_bias, window, variant, groups, backend)
