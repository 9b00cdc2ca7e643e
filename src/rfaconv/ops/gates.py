"""Operations that make gates from statistics.

On CUDA they have gradients (:mod:`rfaconv.ops.gate_gradients`) but for ``coordinate_gates``. On the
CPU they are for inference: while autograd records, :mod:`rfaconv.functional` composes the same from
torch's operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.ops.schema import _fake, _lines

__all__ = ["GATE_DEFINITIONS"]

GATE_DEFINITIONS: dict[str, str] = {
    # sigmoid of expand (C, M) times relu of reduce (M, C) times the mean of x (B, C, H, W): gate
    # and mean, (B, C) in float32; on CUDA alone
    "channel_gate": (
        "(Tensor x, Tensor reduce_weight, Tensor expand_weight) -> (Tensor gate, Tensor mean)"
    ),
    # sigmoid of a convolution over the enlarged maps of maximum and mean, all (B, T, *out)
    "pixel_gate": "(Tensor maximum, Tensor mean, Tensor weight, int[] window) -> Tensor",
    # weight (M, C) times [first (B, C, L0), second (B, C, L1)], plus bias: (B, M, L0 + L1)
    "line_hidden": "(Tensor first, Tensor second, Tensor weight, Tensor? bias) -> Tensor",
    # sigmoid of weight_i (C, M) times hardswish of part i of hidden, plus bias_i: (B, C, Li)
    "line_gates": (
        "(Tensor hidden, Tensor[] weights, Tensor?[] biases, int first) -> (Tensor, Tensor)"
    ),
    # line_hidden, BatchNorm with the statistics norm = [mean, variance, scale, shift], the last two
    # or none, and line_gates: (B, C, L0) and (B, C, L1); on CUDA alone
    "coordinate_gates": (
        "(Tensor first, Tensor second, Tensor reduce_weight, Tensor? reduce_bias, Tensor[] norm, "
        "float eps, Tensor[] weights, Tensor?[] biases) -> (Tensor, Tensor)"
    ),
}

for _name, _schema in GATE_DEFINITIONS.items():
    torch.library.define(f"rfaconv::{_name}", _schema, tags=(torch.Tag.pt2_compliant_tag,))


@_fake("channel_gate")
def _channel_gate(x: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> tuple[Tensor, Tensor]:
    shape = (x.size(0), x.size(1))
    return x.new_empty(shape, dtype=torch.float32), x.new_empty(shape, dtype=torch.float32)


@_fake("coordinate_gates")
def _coordinate_gates(
    first: Tensor,
    second: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    norm: Sequence[Tensor],
    eps: float,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor]:
    return _lines(first, first.shape), _lines(second, second.shape)


@_fake("pixel_gate")
def _pixel_gate(maximum: Tensor, mean: Tensor, weight: Tensor, window: Sequence[int]) -> Tensor:
    return maximum.new_empty(maximum.shape)


@_fake("line_hidden")
def _line_hidden(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    size = (first.size(0), weight.size(0), first.size(2) + second.size(2))
    return first.new_empty(size, dtype=torch.float32)


@_fake("line_gates")
def _line_gates(
    hidden: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], first: int
) -> tuple[Tensor, Tensor]:
    batch, channels = hidden.size(0), weights[0].size(0)
    second = hidden.size(2) - first
    return _lines(hidden, (batch, channels, first)), _lines(hidden, (batch, channels, second))
