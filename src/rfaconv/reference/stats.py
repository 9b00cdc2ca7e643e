"""Statistics of the features from which RFCBAM and RFCA make their gates."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv._autocast import in_given_dtype
from rfaconv.geometry import Window
from rfaconv.reference.features import (
    convolve,
    features,
    fixed_sizes,
    in_fast_layout,
    recorded,
    tap_features,
    unflatten,
)


@in_given_dtype
def feature_stats(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    variant: str,
    window: Window,
    *,
    precomputed: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Reduces the features without keeping them.

    Args:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        variant: ``rfcbam`` or ``rfca``.
        window: the sliding window.
        precomputed: the features (B, C, T, *out) if they exist already.

    Returns:
        ``rfcbam``: maximum and mean over channels, each (B, T, *out).
        ``rfca``: per spatial dimension i the mean over all others of the enlarged map
        (B, C, k_1 out_1, ...), whose entry (out_i * k_i + j_i) is tap j of window out:
        (B, C, k_i * out_i).
    """
    f = precomputed
    if f is None and not recorded(x, feature_weight, feature_bias):
        x = in_fast_layout(x)
        taps = (
            tap_features(x, feature_weight, feature_bias, window, tap) for tap in range(window.taps)
        )
        return _REDUCE_TAPS[variant](taps, window)
    if f is None:
        f = features(x, feature_weight, feature_bias, window)
    if variant == "rfcbam":
        return f.amax(1), f.mean(1)
    return tuple(_axis_mean(f, window, axis) for axis in range(window.dims))


def _reduce_rfcbam(taps: Iterator[Tensor], window: Window) -> tuple[Tensor, ...]:
    maxima, means = zip(*((f.amax(1), f.mean(1)) for f in taps), strict=True)
    return torch.stack(maxima, 1), torch.stack(means, 1)


def _reduce_rfca(taps: Iterator[Tensor], window: Window) -> tuple[Tensor, ...]:
    # per dimension i and position in the kernel along it: the sum over taps of the mean over
    # all other dimensions
    sums: list[dict[int, Tensor]] = [{} for _ in range(window.dims)]
    for index, f in zip(window.tap_indices(), taps, strict=True):
        for axis, j in enumerate(index):
            others = [2 + i for i in range(window.dims) if i != axis]
            mean = f.mean(others) if others else f
            sums[axis][j] = sums[axis][j] + mean if j in sums[axis] else mean
    result = []
    for axis, k in enumerate(window.kernel):
        stacked = torch.stack([sums[axis][j] for j in range(k)], dim=-1)  # (B, C, out_i, k_i)
        result.append(stacked.flatten(2) * (k / window.taps))
    return tuple(result)


_REDUCE_TAPS = {"rfcbam": _reduce_rfcbam, "rfca": _reduce_rfca}


def _axis_mean(f: Tensor, window: Window, axis: int) -> Tensor:
    # over the windows, then over the taps: (B, C, T, out_i), (B, C, k_1, .., k_n, out_i)
    others = [i for i in range(window.dims) if i != axis]
    mean = f.mean([3 + i for i in others]) if others else f
    if window.taps > window.kernel[axis]:
        mean = unflatten(mean, 2, window.kernel).mean([2 + i for i in others])
    if window.kernel[axis] == 1:  # OpenVINO takes the wrong size for that of the flat one
        return mean.squeeze(2)
    return mean.transpose(2, 3).flatten(2)


def convolve_enlarged(maps: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Convolves the enlarged map, in which the taps of a window lie side by side, without making
    it.

    A shift by one pixel of the enlarged map is a shift by some tap, and by one window where it
    leaves its own: so the convolution with M maps is one from M T channels to T channels between
    maps of the windows.

    Args:
        maps: (B, M, T, *out).
        weight: (1, M, *kernel), odd sizes; "same" zero padding of the enlarged map.
        window: the sliding window whose taps are laid side by side.

    Returns:
        (B, T, *out): entry (j, p) belongs to the pixel of tap j of window p.

    The kernel of that convolution holds zeros, so an infinity makes NaN of the taps that it must
    not reach; see :func:`convolve_enlarged_map`.
    """
    kernel = enlarged_kernel(weight, window)
    same = Window.create(fixed_sizes(kernel.shape[2:]), dims=window.dims)
    return convolve(in_fast_layout(maps.flatten(1, 2)), kernel, None, same, 1).contiguous()


def enlarged_kernel(weight: Tensor, window: Window) -> Tensor:
    """The kernel (T, M T, *reach) that :func:`convolve_enlarged` convolves the taps' maps with.

    Args:
        weight: (1, M, *kernel), odd sizes.
        window: the sliding window whose taps are laid side by side.
    """
    n = window.dims
    spread, reach = weight[0], []
    for size, k in zip(fixed_sizes(weight.shape[2:]), window.kernel, strict=True):
        far = -(-(size // 2) // k)  # windows that a shift can cross
        # pixels of the windows -far .. far along this axis, seen from each pixel `to` of window 0
        room, first = (2 * far + 1) * k, far * k - size // 2
        row = spread.movedim(1, -1)
        rows = [F.pad(row, (first + to, room - size - first - to)) for to in range(k)]
        spread = torch.stack(rows, -2).unflatten(-1, (2 * far + 1, k))
        reach.append(2 * far + 1)
    # (M, to_1, step_1, from_1, to_2 ..) -> (to_1 .., M, from_1 .., step_1 ..)
    to, step, source = ([1 + 3 * i + part for i in range(n)] for part in range(3))
    spread = spread.permute(*to, 0, *source, *step)
    return spread.reshape(window.taps, -1, *reach)


def convolve_enlarged_map(maps: Tensor, weight: Tensor, window: Window) -> Tensor:
    """:func:`convolve_enlarged` on the enlarged map itself: slower, right for infinities too."""
    n = window.dims
    out = tuple(maps.shape[3:])
    # (B, M, k_1, .., k_n, out_1, .., out_n) -> (B, M, out_1, k_1, ..)
    order = [2 + part * n + i for i in range(n) for part in (1, 0)]
    enlarged = maps.unflatten(2, window.kernel).permute(0, 1, *order)
    sizes = [size * k for size, k in zip(out, window.kernel, strict=True)]
    same = Window.create(fixed_sizes(weight.shape[2:]), dims=n)
    y = convolve(enlarged.reshape(*maps.shape[:2], *sizes), weight, None, same, 1)
    pairs = [size for pair in zip(out, window.kernel, strict=True) for size in pair]
    back = [1 + 2 * i + part for part in (1, 0) for i in range(n)]
    return y.reshape(len(y), *pairs).permute(0, *back).flatten(1, n).contiguous()
