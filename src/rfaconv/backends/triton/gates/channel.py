"""The channel gate of rfcbam: a mean of torch and one kernel; its gradient in two."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import check_operand
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import power_of_two
from rfaconv.backends.triton.gates.channel_kernels import (
    squeeze_excite,
    squeeze_excite_backward,
    squeeze_excite_weights,
)

__all__ = ["channel_gate", "channel_gate_backward"]

BLOCK_C = 64
"""Channels at a time."""


def channel_gate(x: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gate (B, C) and the means that it was made from; see the schema of the op."""
    check_operand("x", x, x.shape, x)
    size = reduce_weight.size(0), x.size(1)
    check_operand("reduce_weight", reduce_weight, size, x)
    check_operand("expand_weight", expand_weight, size[::-1], x)
    mean = x.mean((2, 3), dtype=torch.float32)
    gate = torch.empty_like(mean)
    channels, hidden = mean.size(1), reduce_weight.size(0)
    launch(
        squeeze_excite,
        (mean.size(0),),
        x,
        {
            "p_mean": mean, "p_reduce": reduce_weight.contiguous(),
            "p_expand": expand_weight.contiguous(), "p_gate": gate, "C": channels, "M": hidden,
            "BLOCK_M": power_of_two(hidden), "BLOCK_C": BLOCK_C,
        },
        num_warps=4,
    )  # fmt: skip
    return gate, mean


def channel_gate_backward(
    dgate: Tensor,
    gate: Tensor,
    mean: Tensor,
    reduce_weight: Tensor,
    expand_weight: Tensor,
    pixels: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of one pixel of x (B, C) and of both weights; see the schema of the op."""
    batch, channels = mean.shape
    hidden = reduce_weight.size(0)
    dmean = torch.empty(mean.shape, dtype=dtype, device=mean.device)
    middle, dmiddle = (mean.new_empty((batch, hidden)) for _ in range(2))
    dreduce, dexpand = (
        torch.empty(w.shape, dtype=w.dtype, device=w.device) for w in (reduce_weight, expand_weight)
    )
    shared = {
        "p_dgate": dgate.contiguous(), "p_gate": gate, "p_mean": mean, "p_hidden": middle,
        "p_dhidden": dmiddle, "C": channels, "M": hidden, "BLOCK_M": power_of_two(hidden),
    }  # fmt: skip
    launch(
        squeeze_excite_backward,
        (batch,),
        mean,
        {
            **shared, "p_reduce": reduce_weight.contiguous(),
            "p_expand": expand_weight.contiguous(), "p_dmean": dmean,
            "pixels": pixels, "BLOCK_C": BLOCK_C,
        },
        num_warps=4,
    )  # fmt: skip
    block_c = max(1, 256 // power_of_two(hidden))
    launch(
        squeeze_excite_weights,
        (cdiv(channels, block_c),),
        mean,
        {
            **shared, "p_dreduce": dreduce, "p_dexpand": dexpand, "batch": batch, "BLOCK_B": 8,
            "BLOCK_C": block_c,
        },
        num_warps=4,
    )  # fmt: skip
    return dmean, dreduce, dexpand
