"""Patches and receptive-field features (paper, section 3.2)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv._autocast import in_given_dtype
from rfaconv.geometry import Window

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of features, gates and statistics: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def mean(x: Tensor, dims: int | tuple[int, ...] | list[int], keepdim: bool = False) -> Tensor:
    """Mean over some dimensions, summed and given in the accumulation dtype."""
    acc = accumulation_dtype(x.dtype)
    if acc == x.dtype:  # LiteRT's converter does not know the argument
        return x.mean(dims, keepdim)
    return x.mean(dims, keepdim, dtype=acc)


def tracing() -> bool:
    """Whether torch.jit records operations into a graph."""
    return torch._C._get_tracing_state() is not None


def recorded(*tensors: Tensor) -> bool:
    """Whether autograd records a computation of these tensors, or torch.jit traces it.

    A trace is one graph whatever the gradient mode: it is checked, and run, in another.
    """
    if tracing():
        return True
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def functorch_active() -> bool:
    """Whether a transform of torch.func is at work, which some torch features refuse."""
    return torch._C._are_functorch_transforms_active()


def in_fast_layout(x: Tensor) -> Tensor:
    """Returns x in channels_last where depthwise convolutions are several times faster in it."""
    if x.device.type != "cpu" or x.dim() != 4 or functorch_active() or tracing():
        return x
    if not x.is_contiguous():
        return x
    return x.contiguous(memory_format=torch.channels_last)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    """Slides ``weight`` over ``x (B, C, *size)``; also where the two sides are padded unequally."""
    low = tuple(lo for lo, _ in window.padding)
    if any(lo != hi for lo, hi in window.padding):
        x = pad(x, window)
        low = (0,) * window.dims
    apart = bias is not None and torch.compiler.is_compiling()
    result: Tensor = _CONVOLUTIONS[window.dims](
        *(x, weight, None if apart else bias, window.stride, low, window.dilation, groups)
    )
    if apart and bias is not None:
        # Inductor up to 2.11 cannot take a bias that is a view of something computed; it fuses this
        result = result + bias.reshape(-1, *(1,) * window.dims)
    return result


def pad(x: Tensor, window: Window) -> Tensor:
    """Adds the zeros that the window reads outside of the map."""
    amounts = [side for pair in reversed(window.padding) for side in pair]
    return F.pad(x, amounts) if any(amounts) else x


def tap_slice(index: tuple[int, ...], window: Window) -> tuple[slice, ...]:
    """Index of all inputs (B, C, *out) that tap ``index`` of a padded map sees.

    Counted from both ends of the map, it holds for maps of every size.
    """
    spatial = tuple(
        slice(i * d, (i * d - extent + 1) or None, s)
        for i, d, s, extent in zip(
            index, window.dilation, window.stride, window.extent, strict=True
        )
    )
    return (slice(None), slice(None), *spatial)


def patch_mean(x: Tensor, window: Window) -> Tensor:
    """Mean of each patch of x (B, C, *size), padding zeros counted: (B, C, *out)."""
    channels = fixed_size(x.shape[1])
    x = x.to(accumulation_dtype(x.dtype))
    # the sum first: large values that cancel leave nothing, not the rounding of their shares
    total = convolve(x, x.new_full((channels, 1, *window.kernel), 1.0), None, window, channels)
    return total * (1.0 / window.taps)


def fixed_size(size: int) -> int:
    """A size as a number also while torch.jit traces: exporters need the shape of a kernel."""
    return fixed_sizes((size,))[0]


def fixed_sizes(sizes: Sequence[int]) -> Sequence[int]:
    """Sizes as numbers also while torch.jit traces, for checks and for what cannot change."""
    if not tracing():
        return sizes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(int(size) for size in sizes)


def unflatten(tensor: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """``tensor.unflatten(dim, sizes)``, after which the older ONNX exporter still knows which
    sizes are open; ``dim`` counts from the front.
    """
    return tensor.reshape(*tensor.shape[:dim], *sizes, *tensor.shape[dim + 1 :])


def features(x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Window) -> Tensor:
    """Receptive-field features ``f[c] = relu(G'[c] u[c] + b'[c])`` of every patch.

    Args:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T), BatchNorm folded in; row j makes feature j.
        feature_bias: b' (C, T).
        window: the sliding window.

    Returns:
        (B, C, T, *out) in the accumulation dtype.
    """
    x = x.to(feature_weight.dtype)
    weight = feature_weight.reshape(-1, 1, *window.kernel)
    channels = fixed_size(feature_bias.shape[0])
    f = convolve(x, weight, feature_bias.reshape(-1), window, channels).relu()
    return unflatten(f, 1, (channels, window.taps))


def linear_features(
    x: Tensor, feature_weight: Tensor, window: Window, offset: Tensor | None = None
) -> Tensor:
    """``G[c] u[c] + offset`` of every patch as a map (B, C * T, *out), for a norm to be called.

    Args:
        x: input (B, C, *size).
        feature_weight: G as a grouped convolution's weight (C * T, 1, *kernel).
        window: the sliding window.
        offset: (C * T,) or None.
    """
    offset = None if offset is None else offset.to(x.dtype)
    return convolve(x, feature_weight.to(x.dtype), offset, window, fixed_size(x.shape[1]))


def normed_features(normed: Tensor, window: Window) -> Tensor:
    """:func:`features` from what a norm made of :func:`linear_features`."""
    values = normed.to(accumulation_dtype(normed.dtype)).relu()
    return unflatten(values, 1, (fixed_size(normed.shape[1]) // window.taps, window.taps))


@in_given_dtype
def shared_features(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Window
) -> Tensor | None:
    """:func:`features` where autograd records, whose backward pass needs them anyway, so that all
    stages share one copy; else None, and each makes them tap by tap.
    """
    if not recorded(x, feature_weight):
        return None
    return features(x, feature_weight, feature_bias, window)


def tap_features(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Window, tap: int
) -> Tensor:
    """One tap of :func:`features`: (B, C, *out). Not for a recorded computation."""
    channels = feature_bias.shape[0]
    weight = feature_weight[:, tap].reshape(channels, 1, *window.kernel)
    return convolve(x.to(weight.dtype), weight, feature_bias[:, tap], window, channels).relu_()
