"""How gates are made from statistics, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.reference.stats import convolve_enlarged

__all__ = ["channel_gate", "line_gates", "line_hidden", "pixel_gate"]


def channel_gate(mean: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> Tensor:
    """``sigmoid(W2 relu(W1 mean))`` (B, C) from means (B, C), in their dtype."""
    hidden = (mean @ reduce_weight.to(mean.dtype).t()).relu()
    return (hidden @ expand_weight.to(mean.dtype).t()).sigmoid()


def pixel_gate(maximum: Tensor, mean: Tensor, weight: Tensor, window: Window) -> Tensor:
    """``sigmoid`` of a convolution over the enlarged maps, all (B, T, *out)."""
    maps = torch.stack([maximum, mean], dim=1)
    return convolve_enlarged(maps, weight.to(maps.dtype), window).sigmoid()


def line_hidden(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``W [first, second] + bias`` (B, M, L0 + L1) from means (B, C, Li)."""
    hidden = weight.to(first.dtype) @ torch.cat([first, second], dim=2)
    return hidden if bias is None else hidden + bias.to(first.dtype).unsqueeze(-1)


def line_gates(
    hidden: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], first: int
) -> tuple[Tensor, Tensor]:
    """``sigmoid(W_i hardswish(hidden_i) + b_i)``, hidden being split at ``first``."""
    gates = []
    parts = F.hardswish(hidden).split([first, hidden.size(2) - first], dim=2)
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        logit = weight.to(part.dtype) @ part
        logit = logit if bias is None else logit + bias.to(part.dtype).unsqueeze(-1)
        gates.append(logit.sigmoid())
    return gates[0], gates[1]
