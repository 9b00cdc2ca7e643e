"""What stands between the layers of an attention module when they are called one by one.

Sizes are read in here, where graph tracers see one step: those inside are not symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv.reference.features import accumulation_dtype, mean


def pooled_vector(x: Tensor) -> Tensor:
    """Means of the channels (B, C) of x (B, C, *size), in its dtype."""
    return mean(x, tuple(range(2, x.dim()))).to(x.dtype)


def pooled_map(x: Tensor, kind: str) -> Tensor:
    """Maxima or means of the channels of x (B, C, *size) as a map (B, C, 1, 1)."""
    spatial = tuple(range(2, x.dim()))
    pooled = x.amax(spatial) if kind == "max" else pooled_vector(x)
    return pooled[..., None, None]


def map_gate(first: Tensor, second: Tensor) -> Tensor:
    """The gate (B, C) of the sum of two maps of logits (B, C, 1, 1)."""
    acc = accumulation_dtype(first.dtype)
    return (first.to(acc) + second.to(acc)).flatten(1).sigmoid()


def channel_maps(x: Tensor) -> Tensor:
    """Maximum and mean over the channels of x (B, C, *size): (B, 2, *size), in its dtype."""
    return torch.cat([x.amax(1, keepdim=True), mean(x, 1, True).to(x.dtype)], 1)


def gate_of(logits: Tensor) -> Tensor:
    """The gate of logits of any shape, in the accumulation dtype."""
    return logits.to(accumulation_dtype(logits.dtype)).sigmoid()


def join_lines(pooled: Sequence[Tensor], dtype: torch.dtype | None) -> Tensor:
    """Means (B, C, L_i) of all dimensions as one map (B, C, sum of L_i, 1)."""
    joined = torch.cat(list(pooled), 2).unsqueeze(-1)
    return joined if dtype is None else joined.to(dtype)


def split_lines(hidden: Tensor, pooled: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The parts (B, M, L_i, 1) of the activated hidden channels that belong to each dimension."""
    parts: tuple[Tensor, ...] = F.hardswish(hidden).split(
        [means.shape[2] for means in pooled], dim=2
    )
    return parts
