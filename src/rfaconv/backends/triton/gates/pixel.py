"""The spatial gate of rfcbam in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import check_operand
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.gates.pixel_kernels import pixel_gate_backward as backward_kernel
from rfaconv.backends.triton.gates.pixel_kernels import pixel_gate_forward
from rfaconv.errors import InvalidArgument
from rfaconv.ops.schema import memory_format_of

__all__ = ["pixel_gate", "pixel_gate_backward"]

BLOCK_P = 128
"""Windows of a program, one per thread."""


def pixel_gate(maximum: Tensor, mean: Tensor, weight: Tensor, window: Sequence[int]) -> Tensor:
    """The gate (B, T, Ho, Wo); see the schema of the op."""
    taps = window[0] * window[1]
    if maximum.dim() != 4 or maximum.size(1) != taps:
        raise InvalidArgument("maximum", f"shape (B, {taps}, Ho, Wo)", tuple(maximum.shape))
    if mean.shape != maximum.shape:
        raise InvalidArgument("mean", f"shape {tuple(maximum.shape)}", tuple(mean.shape))
    if weight.dim() != 4 or weight.size(2) % 2 == 0 or weight.size(3) % 2 == 0:
        raise InvalidArgument("weight", "shape (1, 2, odd, odd)", tuple(weight.shape))
    check_operand("maximum", maximum, maximum.shape, maximum)
    check_operand("mean", mean, maximum.shape, maximum)
    check_operand("weight", weight, (1, 2, *weight.shape[2:]), maximum)
    gate = torch.empty(maximum.shape, dtype=torch.float32, device=maximum.device)
    shared, programs = _shared(maximum, weight, window)
    launch(
        pixel_gate_forward,
        (programs,),
        maximum,
        {
            **shared, "p_top": maximum.contiguous(), "p_mean": mean.contiguous(),
            "p_weight": weight, "p_gate": gate,
        },
        num_warps=BLOCK_P // 32,
    )  # fmt: skip
    return gate


def pixel_gate_backward(
    dgate: Tensor,
    gate: Tensor,
    maximum: Tensor,
    mean: Tensor,
    weight: Tensor,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of both maps and of the weight; see the schema of the op."""
    shared, programs = _shared(maximum, weight, window)
    # in the order of the weight's memory, which its gradient then has too
    _, maps, height, width = weight.shape
    last = memory_format_of(weight) is torch.channels_last
    sums = gate.new_empty((programs, height * width, maps) if last else (programs, *weight.shape))
    single: dict[str, Any] = {"dtype": torch.float32, "device": gate.device}
    dtop, dmean = torch.empty(gate.shape, **single), torch.empty(gate.shape, **single)
    launch(
        backward_kernel,
        (programs, 2),
        gate,
        {
            **shared, "p_dgate": dgate.contiguous(), "p_gate": gate.contiguous(),
            "p_top": maximum.contiguous(), "p_mean": mean.contiguous(), "p_weight": weight,
            "p_dtop": dtop, "p_dmean": dmean, "p_sums": sums,
            "sum_m": 1 if last else height * width, "sum_i": maps if last else 1,
        },
        num_warps=BLOCK_P // 32,
    )  # fmt: skip
    total = sums.sum(0, dtype=torch.float32).to(weight.dtype)
    if last:
        return dtop, dmean, total.view(1, height, width, maps).permute(0, 3, 1, 2)
    return dtop, dmean, total


def _shared(maximum: Tensor, weight: Tensor, window: Sequence[int]) -> tuple[dict[str, Any], int]:
    """What both directions are given, and the number of programs."""
    batch, _, height, width = maximum.shape
    pixels = batch * height * width
    arguments = {
        "pixels": pixels, "HO": height, "WO": width, "w_sm": weight.stride(1),
        "w_sh": weight.stride(2), "w_sw": weight.stride(3), "KH": window[0], "KW": window[1],
        "RH": weight.size(2) // 2, "RW": weight.size(3) // 2, "WIDE": maximum.numel() >= 2**31,
        "BLOCK_P": BLOCK_P,
    }  # fmt: skip
    return arguments, cdiv(pixels, BLOCK_P)
