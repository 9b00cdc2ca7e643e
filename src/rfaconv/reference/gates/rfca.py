"""RFCA: ``a[b,c,j,p] = row[b,c,kh*h + j//kw] * col[b,c,kw*w + j%kw]`` (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul

from torch import Tensor

from rfaconv.geometry import Window


def panel(x: Tensor, gate: Sequence[Tensor], window: Window) -> Tensor:
    """Gates (B, C, T, *out) from one tensor (B, C, k_i * out_i) per spatial dimension i."""
    n = window.dims
    factors = []
    for axis, (values, k) in enumerate(zip(gate, window.kernel, strict=True)):
        # unfold, not unflatten: splitting a symbolic size would leave a guard in exported graphs
        split = values.unfold(2, k, k).transpose(2, 3)  # (B, C, k_i, out_i)
        shape = list(split.shape[:2]) + [1] * (2 * n)
        shape[2 + axis], shape[2 + n + axis] = split.shape[2], split.shape[3]
        factors.append(split.reshape(shape))
    return reduce(mul, factors).flatten(2, 1 + n)


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
