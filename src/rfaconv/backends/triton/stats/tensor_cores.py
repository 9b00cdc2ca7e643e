"""Statistics of features that are a product on tensor cores, for inference."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.launch import cdiv, interpreting, launch
from rfaconv.backends.triton.common.operands import Geometry
from rfaconv.backends.triton.common.tensor_cores import fill
from rfaconv.backends.triton.stats.tensor_core_kernels import channels_tensor_cores

__all__ = ["channels_by_tensor_cores"]


def channels_by_tensor_cores(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Maximum and mean over channels (B, T, Ho, Wo), of rfcbam."""
    matrices = fill(x, feature_weight, feature_bias, (), "rfcbam")
    size = (geometry.batch, geometry.taps, *geometry.out)
    top, mean = (torch.empty(size, dtype=torch.float32, device=x.device) for _ in range(2))
    config = configs.STATS_TENSOR_CORES
    pixels = geometry.batch * geometry.positions
    launch(
        channels_tensor_cores,
        (cdiv(pixels, config.block_p),),
        x,
        {
            "p_x": x, "p_matrices": matrices["p_matrices"], "p_fixed": matrices["p_fixed"],
            "p_top": top, "p_mean": mean, "pixels": pixels,
            **geometry.arguments(x), "UPCAST": interpreting(), "BLOCK_P": config.block_p,
        },
        num_warps=config.warps, num_stages=2,
    )  # fmt: skip
    return top, mean
