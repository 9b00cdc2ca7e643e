"""The spatial gate of rfcbam in one kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.launch import cdiv, launch
from rfaconv.backends.triton.operands import strides
from rfaconv.backends.triton.pixel_gate_kernels import pixel_gate_forward

__all__ = ["pixel_gate"]

BLOCK_P = 128
"""Windows of a program, one per thread."""


def pixel_gate(maximum: Tensor, mean: Tensor, weight: Tensor, window: Sequence[int]) -> Tensor:
    """The gate (B, T, Ho, Wo); see the schema of the op."""
    gate = torch.empty(maximum.shape, dtype=torch.float32, device=maximum.device)
    batch, _, height, width = maximum.shape
    pixels = batch * height * width
    launch(
        pixel_gate_forward,
        (cdiv(pixels, BLOCK_P),),
        maximum,
        {
            "p_top": maximum.contiguous(), "p_mean": mean.contiguous(),
            "p_weight": weight, "p_gate": gate, "pixels": pixels, "HO": height,
            "WO": width, **strides("w", weight[0], "mhw"), "KH": window[0], "KW": window[1],
            "RH": weight.size(2) // 2, "RW": weight.size(3) // 2,
            "WIDE": maximum.numel() >= 2**31, "BLOCK_P": BLOCK_P,
        },
        num_warps=BLOCK_P // 32,
    )  # fmt: skip
    return gate
