"""Operations that make gates from statistics, and their backward passes.

A backend may have them or not, or for inference alone: :mod:`rfaconv.functional` composes the same
from torch's operations where it has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.ops.schema import define, fake, lines, weight_like

__all__ = ["DEFINITIONS"]

DEFINITIONS: dict[str, str] = {
    # sigmoid of expand (C, M) times relu of reduce (M, C) times the mean of x (B, C, H, W): gate
    # and mean, (B, C) in float32
    "channel_gate": (
        "(Tensor x, Tensor reduce_weight, Tensor expand_weight, str backend) -> "
        "(Tensor gate, Tensor mean)"
    ),
    # dmean: what every pixel of x receives, (B, C) in the given dtype
    "channel_gate_backward": (
        "(Tensor dgate, Tensor gate, Tensor mean, Tensor reduce_weight, Tensor expand_weight, "
        "int pixels, ScalarType dtype, str backend) -> "
        "(Tensor dmean, Tensor dreduce, Tensor dexpand)"
    ),
    # sigmoid of a convolution over the enlarged maps of maximum and mean, all (B, T, *out)
    "pixel_gate": (
        "(Tensor maximum, Tensor mean, Tensor weight, int[] window, str backend) -> Tensor"
    ),
    "pixel_gate_backward": (
        "(Tensor dgate, Tensor gate, Tensor maximum, Tensor mean, Tensor weight, int[] window, "
        "str backend) -> (Tensor dmaximum, Tensor dmean, Tensor dweight)"
    ),
    # weight (M, C) times [first (B, C, L0), second (B, C, L1)], plus bias: (B, M, L0 + L1)
    "line_hidden": (
        "(Tensor first, Tensor second, Tensor weight, Tensor? bias, str backend) -> Tensor"
    ),
    "line_hidden_backward": (
        "(Tensor dhidden, Tensor first, Tensor second, Tensor weight, str backend) -> "
        "(Tensor dfirst, Tensor dsecond, Tensor dweight, Tensor dbias)"
    ),
    # sigmoid of weight_i (C, M) times hardswish of part i of hidden, plus bias_i: (B, C, Li)
    "line_gates": (
        "(Tensor hidden, Tensor[] weights, Tensor?[] biases, int first, str backend) -> "
        "(Tensor, Tensor)"
    ),
    # dweights (2, C, M) and dbiases (2, C) in float32
    "line_gates_backward": (
        "(Tensor drows, Tensor dcols, Tensor hidden, Tensor[] weights, Tensor?[] biases, "
        "int first, str backend) -> (Tensor dhidden, Tensor dweights, Tensor dbiases)"
    ),
}

define(DEFINITIONS)


def _like(value: Tensor) -> Tensor:
    return value.new_empty(value.shape)


@fake("channel_gate_backward")
def _channel_gate_backward(
    dgate: Tensor, gate: Tensor, mean: Tensor, reduce_weight: Tensor, expand_weight: Tensor,
    pixels: int, dtype: torch.dtype, backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dmean = mean.new_empty(mean.shape, dtype=dtype)
    return dmean, _like(reduce_weight), _like(expand_weight)


@fake("pixel_gate_backward")
def _pixel_gate_backward(
    dgate: Tensor, gate: Tensor, maximum: Tensor, mean: Tensor, weight: Tensor,
    window: Sequence[int], backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _like(gate), _like(gate), weight_like(weight, backend)


@fake("line_hidden_backward")
def _line_hidden_backward(
    dhidden: Tensor, first: Tensor, second: Tensor, weight: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dbias = weight.new_empty((weight.size(0),))
    dfirst, dsecond = lines(first, first.shape, backend), lines(second, second.shape, backend)
    return dfirst, dsecond, _like(weight), dbias


@fake("line_gates_backward")
def _line_gates_backward(
    drows: Tensor, dcols: Tensor, hidden: Tensor, weights: Sequence[Tensor],
    biases: Sequence[Tensor | None], first: int, backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shape = 2, *weights[0].shape
    return _like(hidden), hidden.new_empty(shape), hidden.new_empty(shape[:2])


@fake("channel_gate")
def _channel_gate(
    x: Tensor, reduce_weight: Tensor, expand_weight: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    shape = (x.size(0), x.size(1))
    return x.new_empty(shape, dtype=torch.float32), x.new_empty(shape, dtype=torch.float32)


@fake("pixel_gate")
def _pixel_gate(
    maximum: Tensor, mean: Tensor, weight: Tensor, window: Sequence[int], backend: str
) -> Tensor:
    return maximum.new_empty(maximum.shape)


@fake("line_hidden")
def _line_hidden(
    first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None, backend: str
) -> Tensor:
    size = (first.size(0), weight.size(0), first.size(2) + second.size(2))
    return first.new_empty(size, dtype=torch.float32)


@fake("line_gates")
def _line_gates(
    hidden: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    first: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    batch, channels = hidden.size(0), weights[0].size(0)
    second = hidden.size(2) - first
    return (
        lines(hidden, (batch, channels, first), backend),
        lines(hidden, (batch, channels, second), backend),
    )
