"""RFCBAM's spatial gate."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv import dispatch
from rfaconv._autocast import without_autocast
from rfaconv.functional._arguments import check_map, check_operand, check_spatial
from rfaconv.functional._select import select_gate
from rfaconv.geometry import Window
from rfaconv.reference.features import tracing
from rfaconv.reference.stats import convolve_enlarged, convolve_enlarged_map


def pixel_gate(
    maximum: Tensor,
    mean: Tensor,
    spatial_weight: Tensor,
    window: Window,
    backend: str = "auto",
) -> Tensor:
    """RFCBAM's spatial gate: a 3x3 convolution over the enlarged maps, then a sigmoid.

    Args:
        maximum: maximum of the features over channels (B, T, *out).
        mean: their mean (B, T, *out).
        spatial_weight: (1, 2, *kernel), odd kernel.
        window: the sliding window of the features.
        backend: ``auto`` or the name of one, whose kernel is used if it has one; else plain torch.

    Returns:
        (B, T, *out), entries in (0, 1).

    Source: paper, section 3.3.
    """
    check_map("maximum", maximum, window)
    shape = None if tracing() else (maximum.shape[0], window.taps, *maximum.shape[2:])
    check_operand("maximum", maximum, maximum, shape)
    check_operand("mean", mean, maximum, shape)
    check_spatial(spatial_weight, maximum, window.dims)
    chosen = select_gate("pixel_gate", maximum, mean, spatial_weight, window=window, name=backend)
    if chosen != dispatch.REFERENCE:
        gate: Tensor = torch.ops.rfaconv.pixel_gate(
            maximum, mean, spatial_weight, window.to_ints(), chosen
        )
        return gate
    maps = torch.stack([maximum, mean], dim=1)
    convolution = convolve_enlarged if _finite(maps) else convolve_enlarged_map
    with without_autocast(maps):
        return convolution(maps, spatial_weight.to(maps.dtype), window).sigmoid()


def _finite(maps: Tensor) -> bool:
    """Whether the maps hold no NaN or infinity, as far as it can be known without a wait."""
    if maps.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    return dispatch.plain_torch_required() or bool(maps.detach().sum().isfinite())
