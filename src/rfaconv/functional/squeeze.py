"""Squeeze and excitation."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv import dispatch
from rfaconv._autocast import without_autocast
from rfaconv.functional._arguments import check_operand
from rfaconv.functional._select import select_gate
from rfaconv.reference import attention
from rfaconv.reference.features import fixed_size, mean, tracing


def squeeze_excite(
    x: Tensor, reduce_weight: Tensor, expand_weight: Tensor, backend: str = "auto"
) -> Tensor:
    """Channel gate ``sigmoid(W2 relu(W1 mean(x)))``.

    Args:
        x: input (B, C, *size).
        reduce_weight: W1 (hidden, C).
        expand_weight: W2 (C, hidden).
        backend: ``auto`` or the name of one, whose kernel is used if it has one; else plain torch.

    Returns:
        (B, C), entries in (0, 1), in float32 (float64 for float64 inputs).

    Source: paper, section 3.3: SE in place of CAM in RFCBAM.
    """
    channels, hidden = fixed_size(x.shape[1]), fixed_size(reduce_weight.shape[0])
    check_operand("input", x, x)
    check_operand("reduce_weight", reduce_weight, x, (hidden, channels))
    check_operand("expand_weight", expand_weight, x, (channels, hidden))
    tensors = (x, reduce_weight, expand_weight)
    if x.dim() == 4 and not tracing() and x.numel() > 0:
        chosen = select_gate("channel_gate", *tensors, name=backend, hidden=hidden)
        if chosen != dispatch.REFERENCE:
            gate: Tensor = torch.ops.rfaconv.channel_gate(*tensors, chosen)[0]
            return gate
    with without_autocast(x):
        return attention.channel_gate(
            mean(x, tuple(range(2, x.dim()))), reduce_weight, expand_weight
        )
