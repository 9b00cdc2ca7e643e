"""RFCA: ``a[b,c,j,p] = row[b,c,kh*h + j//kw] * col[b,c,kw*w + j%kw]`` (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.reference.features import tracing, unflatten


def panel(x: Tensor, gate: Sequence[Tensor], window: Window) -> Tensor:
    """Gates (B, C, T, *out) from one tensor (B, C, k_i * out_i) per spatial dimension i."""
    n = window.dims
    if tracing():
        return _traced_panel(gate, window)
    factors = []
    for axis, (values, k) in enumerate(zip(gate, window.kernel, strict=True)):
        split = values.unfold(2, k, k)
        index: list[slice | None] = [slice(None)] * 2 + [None] * (2 * n)
        index[2 + axis] = index[2 + n + axis] = slice(None)
        factors.append(split.transpose(2, 3)[tuple(index)])  # (B, C, 1, k_i, 1.., 1, out_i, 1..)
    return reduce(mul, factors).flatten(2, 1 + n)


def _traced_panel(gate: Sequence[Tensor], window: Window) -> Tensor:
    """:func:`panel` with no more axes than its result: ncnn has four beside the batch."""
    factors = []
    for axis, (values, k) in enumerate(zip(gate, window.kernel, strict=True)):
        # splitting a symbolic size would leave a guard in torch.export's graphs, and unfold leaves
        # the traced size in those of torch.jit
        split = unflatten(values, 2, (-1, k)).transpose(2, 3)  # (B, C, k_i, out_i)
        lines = torch.cat(
            [split[:, :, tap[axis] : tap[axis] + 1] for tap in window.tap_indices()], 2
        )
        for _ in range(axis):
            lines = lines.unsqueeze(3)
        for _ in range(window.dims - 1 - axis):
            lines = lines.unsqueeze(-1)
        factors.append(lines)  # (B, C, T, 1.., out_i, 1..)
    return reduce(mul, factors)


def taps(x: Tensor, gate: Sequence[Tensor], window: Window) -> Callable[[int], Tensor]:
    """Gates tap by tap."""
    indices = list(window.tap_indices())

    def tap_gate(tap: int) -> Tensor:
        factors = []
        for axis, (values, k) in enumerate(zip(gate, window.kernel, strict=True)):
            factor = values[:, :, indices[tap][axis] :: k]
            shape = [1] * window.dims
            shape[axis] = factor.shape[2]
            factors.append(factor.reshape(*factor.shape[:2], *shape))
        return reduce(mul, factors)

    return tap_gate
