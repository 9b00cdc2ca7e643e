"""The operators as explicit loops over the definition: slow, independent, obviously right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.geometry import Window


def patch(
    x: Tensor, window: Window, batch: int, channel: int, position: Sequence[int]
) -> list[float]:
    """The inputs under the kernel at one output position, zeros outside of the map."""
    values = []
    for tap in itertools.product(*(range(k) for k in window.kernel)):
        index = [
            p * s - lo + t * d
            for p, s, (lo, _), t, d in zip(
                position, window.stride, window.padding, tap, window.dilation, strict=True
            )
        ]
        inside = all(0 <= i < n for i, n in zip(index, x.shape[2:], strict=True))
        values.append(float(x[(batch, channel, *index)]) if inside else 0.0)
    return values


def positions(out: Sequence[int]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(n) for n in out)))


def features(x: Tensor, weight: Tensor, bias: Tensor, window: Window) -> Tensor:
    """f[b, c, j, p] = max(0, sum_i G'[c, j, i] u[i] + b'[c, j])."""
    out = window.output_size(x.shape[2:])
    channels, taps = bias.shape
    f = torch.zeros(x.shape[0], channels, taps, *out, dtype=torch.float64)
    for b, c in itertools.product(range(x.shape[0]), range(channels)):
        for p in positions(out):
            u = patch(x, window, b, c, p)
            for j in range(taps):
                z = float(bias[c, j]) + sum(float(weight[c, j, i]) * u[i] for i in range(taps))
                f[(b, c, j, *p)] = max(0.0, z)
    return f


def rfa_gate(x: Tensor, attention: Tensor, window: Window) -> Tensor:
    """a[b, c, j, p] = exp(w_j m) / sum_i exp(w_i m), m the mean of the patch."""
    out = window.output_size(x.shape[2:])
    channels, taps = attention.shape
    a = torch.zeros(x.shape[0], channels, taps, *out, dtype=torch.float64)
    for b, c in itertools.product(range(x.shape[0]), range(channels)):
        for p in positions(out):
            m = sum(patch(x, window, b, c, p)) / taps
            logits = [float(attention[c, j]) * m for j in range(taps)]
            top = max(logits)
            e = [math.exp(v - top) for v in logits]
            for j in range(taps):
                a[(b, c, j, *p)] = e[j] / sum(e)
    return a


def rfcbam_gate(f: Tensor, channel: Tensor, spatial_weight: Tensor, window: Window) -> Tensor:
    """A = channel[b, c] * sigmoid(conv([max_c f, mean_c f])) on the enlarged map (2-D)."""
    batch, channels, taps, height, width = f.shape
    kh, kw = window.kernel
    a = torch.zeros_like(f)
    big_h, big_w = height * kh, width * kw
    for b in range(batch):
        maps = torch.zeros(2, big_h, big_w, dtype=torch.float64)
        for h, w, j in itertools.product(range(height), range(width), range(taps)):
            values = [float(f[b, c, j, h, w]) for c in range(channels)]
            maps[0, h * kh + j // kw, w * kw + j % kw] = max(values)
            maps[1, h * kh + j // kw, w * kw + j % kw] = sum(values) / channels
        size = spatial_weight.shape[-1]
        for y, x in itertools.product(range(big_h), range(big_w)):
            total = 0.0
            for m, dy, dx in itertools.product(range(2), range(size), range(size)):
                yy, xx = y + dy - size // 2, x + dx - size // 2
                if 0 <= yy < big_h and 0 <= xx < big_w:
                    total += float(spatial_weight[0, m, dy, dx]) * float(maps[m, yy, xx])
            gate = 1.0 / (1.0 + math.exp(-total))
            j = (y % kh) * kw + x % kw
            for c in range(channels):
                a[b, c, j, y // kh, x // kw] = float(channel[b, c]) * gate
    return a


def rfca_means(f: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Means of the enlarged map over its width and over its height (2-D)."""
    batch, channels, _, height, width = f.shape
    kh, kw = window.kernel
    row = torch.zeros(batch, channels, kh * height, dtype=torch.float64)
    col = torch.zeros(batch, channels, kw * width, dtype=torch.float64)
    for b, c, y, x in itertools.product(
        range(batch), range(channels), range(kh * height), range(kw * width)
    ):
        value = float(f[b, c, (y % kh) * kw + x % kw, y // kh, x // kw])
        row[b, c, y] += value / (kw * width)
        col[b, c, x] += value / (kh * height)
    return row, col


def rfca_gate(row: Tensor, col: Tensor, window: Window, out: Sequence[int]) -> Tensor:
    """a[b, c, j, (h, w)] = row[b, c, kh h + j // kw] * col[b, c, kw w + j % kw]."""
    kh, kw = window.kernel
    a = torch.zeros(*row.shape[:2], kh * kw, *out, dtype=torch.float64)
    for j, h, w in itertools.product(range(kh * kw), range(out[0]), range(out[1])):
        a[:, :, j, h, w] = row[:, :, kh * h + j // kw] * col[:, :, kw * w + j % kw]
    return a


def projection(f: Tensor, a: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """y[b, o, p] = bias[o] + sum_{c in group(o), j} K[o, c, j] f[b, c, j, p] a[b, c, j, p]."""
    batch, _, taps, *out = f.shape
    matrix = weight.flatten(2)
    outputs, per_group = matrix.shape[:2]
    y = torch.zeros(batch, outputs, *out, dtype=torch.float64)
    for b, o in itertools.product(range(batch), range(outputs)):
        group = o // (outputs // groups)
        for p in positions(out):
            total = 0.0 if bias is None else float(bias[o])
            for c, j in itertools.product(range(per_group), range(taps)):
                source = (b, group * per_group + c, j, *p)
                total += float(matrix[o, c, j]) * float(f[source]) * float(a[source])
            y[(b, o, *p)] = total
    return y
