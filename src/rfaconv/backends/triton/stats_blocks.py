"""Statistics of features that are a product on tensor cores, for inference."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.blocks import fill
from rfaconv.backends.triton.launch import cdiv, interpreting, launch
from rfaconv.backends.triton.operands import Geometry
from rfaconv.backends.triton.stats_blocks_kernels import channels_blocks

__all__ = ["channels_by_blocks"]


def channels_by_blocks(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Maximum and mean over channels (B, T, Ho, Wo), of rfcbam."""
    blocks = fill(x, feature_weight, feature_bias, (), "rfcbam")
    size = (geometry.batch, geometry.taps, *geometry.out)
    top, mean = (torch.empty(size, dtype=torch.float32, device=x.device) for _ in range(2))
    config = configs.STATS_BLOCKS
    pixels = geometry.batch * geometry.positions
    launch(
        channels_blocks,
        (cdiv(pixels, config.block_p),),
        x,
        {
            "p_x": x, "p_blocks": blocks["p_blocks"], "p_fixed": blocks["p_fixed"],
            "p_top": top, "p_mean": mean, "pixels": pixels,
            **geometry.arguments(x), "UPCAST": interpreting(), "BLOCK_P": config.block_p,
        },
        num_warps=config.warps, num_stages=2,
    )  # fmt: skip
    return top, mean
