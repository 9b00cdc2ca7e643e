"""Coordinate attention: one gate per row and one per column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv import dispatch
from rfaconv._autocast import without_autocast
from rfaconv.functional._arguments import check_operand, check_pointwise
from rfaconv.functional._select import select_gate
from rfaconv.reference.features import fixed_size, fixed_sizes, tracing


class CoordinateWeights(NamedTuple):
    """Weights of coordinate attention; hidden channels M.

    Attributes:
        reduce_weight: (M, C).
        reduce_bias: (M,) or None.
        expand_weights: one (C, M) per spatial dimension.
        expand_biases: one (C,) or None per spatial dimension.
    """

    reduce_weight: Tensor
    reduce_bias: Tensor | None
    expand_weights: Sequence[Tensor]
    expand_biases: Sequence[Tensor | None]


def coordinate_gates(
    pooled: Sequence[Tensor], weights: CoordinateWeights, norm: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Gates ``sigmoid(W_i hardswish(norm(W1 [pooled_1, pooled_2, ...])))_i``.

    Args:
        pooled: one tensor (B, C, L_i) per spatial dimension: means over the other dimensions.
        weights: the two pointwise layers.
        norm: BatchNorm over (B, M, L, 1).

    Returns:
        One gate (B, C, L_i) per spatial dimension, entries in (0, 1).

    Source: paper, section 3.3, RFCA; coordinate attention.
    """
    hidden = norm(coordinate_hidden(pooled, weights.reduce_weight, weights.reduce_bias))
    return coordinate_expand(hidden, pooled, weights.expand_weights, weights.expand_biases)


def coordinate_hidden(
    pooled: Sequence[Tensor],
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Reduces the joined means to the hidden channels: (B, M, L, 1), in the dtype of the weight.

    The parameters have ``dtype``, that of the map, or that of the means if it is None.
    """
    hidden = fixed_size(reduce_weight.shape[0])
    for means in pooled:
        sizes = (*fixed_sizes(pooled[0].shape[:2]), means.shape[-1])
        check_operand("pooled", means, pooled[0], None if tracing() else sizes)
    channels = fixed_size(pooled[0].shape[1])
    check_pointwise("reduce_weight", reduce_weight, pooled[0], (hidden, channels), dtype)
    if reduce_bias is not None:
        check_operand("reduce_bias", reduce_bias, pooled[0], (hidden,), dtype)
    with without_autocast(pooled[0]):
        acc = pooled[0].dtype
        chosen = _chosen("line_hidden", pooled, hidden, backend, reduce_weight)
        if chosen != dispatch.REFERENCE:
            both: Tensor = torch.ops.rfaconv.line_hidden(
                *pooled, reduce_weight.flatten(1), reduce_bias, chosen
            )
            return both.unsqueeze(-1).to(reduce_weight.dtype)
        # joined behind the reduction, where there are fewer channels to copy
        parts = [_pointwise(means, reduce_weight.to(acc), reduce_bias) for means in pooled]
        return torch.cat(parts, dim=2).unsqueeze(-1).to(reduce_weight.dtype)


def coordinate_expand(
    hidden: Tensor,
    pooled: Sequence[Tensor],
    expand_weights: Sequence[Tensor],
    expand_biases: Sequence[Tensor | None],
    backend: str = "auto",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:
    """Activates the normalised hidden channels (B, M, L, 1) and makes the gates from them.

    The parameters have ``dtype``, that of the map, or that of the means if it is None.
    """
    channels, width = fixed_size(pooled[0].shape[1]), fixed_size(hidden.shape[1])
    for weight, bias in zip(expand_weights, expand_biases, strict=True):
        check_pointwise("expand_weight", weight, pooled[0], (channels, width), dtype)
        if bias is not None:
            check_operand("expand_bias", bias, pooled[0], (channels,), dtype)
    with without_autocast(hidden):
        acc = pooled[0].dtype
        chosen = _chosen("line_gates", pooled, hidden.size(1), backend, hidden, *expand_weights)
        if chosen != dispatch.REFERENCE:
            matrices = [weight.flatten(1) for weight in expand_weights]
            # autograd knows no list in which a tensor stands beside None
            offsets = [
                weight.new_zeros(len(weight)) if bias is None else bias
                for weight, bias in zip(expand_weights, expand_biases, strict=True)
            ]
            first, second = torch.ops.rfaconv.line_gates(
                hidden.squeeze(-1).to(acc), matrices, offsets, pooled[0].shape[2], chosen
            )
            return first, second
        active = F.hardswish(hidden.squeeze(-1).to(acc))
        parts = active.split([p.shape[2] for p in pooled], dim=2)
        gates = []
        for part, weight, bias in zip(parts, expand_weights, expand_biases, strict=True):
            gates.append(_pointwise(part, weight.to(acc), bias).sigmoid())
        return tuple(gates)


def _chosen(op: str, pooled: Sequence[Tensor], hidden: int, backend: str, *tensors: Tensor) -> str:
    """The backend whose kernel runs a layer."""
    if len(pooled) != 2 or tracing() or pooled[0].numel() == 0:
        return dispatch.REFERENCE
    return select_gate(op, *pooled, *tensors, name=backend, hidden=hidden)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # a product: torch runs a convolution as small as this in its slow path
    y = torch.matmul(weight.flatten(1), x)
    return y if bias is None else y + bias.to(x.dtype).unsqueeze(-1)
