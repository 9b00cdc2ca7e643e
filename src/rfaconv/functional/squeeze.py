"""Squeeze and excitation."""

from __future__ import annotations

from torch import Tensor

from rfaconv.functional._precision import without_autocast
from rfaconv.reference.features import accumulation_dtype


def squeeze_excite(x: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> Tensor:
    """Channel gate ``sigmoid(W2 relu(W1 mean(x)))``.

    Args:
        x: input (B, C, *size).
        reduce_weight: W1 (hidden, C).
        expand_weight: W2 (C, hidden).

    Returns:
        (B, C), entries in (0, 1), in float32 (float64 for float64 inputs).

    Source: paper, section 3.3: SE in place of CAM in RFCBAM.
    """
    with without_autocast(x):
        acc = accumulation_dtype(x.dtype)
        mean = x.mean(tuple(range(2, x.dim())), dtype=acc)
        hidden = (mean @ reduce_weight.to(acc).t()).relu()
        return (hidden @ expand_weight.to(acc).t()).sigmoid()
