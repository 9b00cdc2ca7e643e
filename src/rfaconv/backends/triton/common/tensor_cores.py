"""Features as a product on tensor cores: where they are one, and the matrices that they take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import Geometry, channels_last
from rfaconv.backends.triton.common.tensor_core_kernels import CHANNELS, SIDE, fill_matrices
from rfaconv.backends.triton.gates import CODES

__all__ = ["fill", "supports"]


def supports(x: Tensor, geometry: Geometry) -> bool:
    """Whether the features of this map are a product."""
    dtype = str(x.dtype).removeprefix("torch.")
    last = channels_last(x)
    return configs.supports_tensor_cores(dtype, geometry.taps, geometry.channels, last=last)


def fill(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, gate: Sequence[Tensor], variant: str
) -> dict[str, Tensor]:
    """What the kernels are given: the matrices of the features, the weights of the gate of rfa, a
    zero and a one for every channel; see ``fill_matrices``.
    """
    groups, side = cdiv(x.size(1), CHANNELS.value), SIDE.value
    matrices = torch.empty((groups, side, side), dtype=x.dtype, device=x.device)
    rows = feature_bias.new_empty((groups, 16, CHANNELS.value), dtype=torch.float32)
    fixed = torch.empty((2, x.size(1)), dtype=x.dtype, device=x.device)
    found = {"p_matrices": matrices, "p_rows": rows, "p_fixed": fixed}
    launch(
        fill_matrices,
        (groups, side // CHANNELS.value),
        x,
        {
            "p_g": feature_weight.contiguous(), "p_b": feature_bias.contiguous(),
            "p_w": gate[0].contiguous() if variant == "rfa" else rows, **found,
            "C": x.size(1), "VARIANT": CODES[variant],
        },
        num_warps=4,
    )  # fmt: skip
    return found
