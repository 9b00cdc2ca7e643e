"""Statistics of the features over channels (rfcbam) or over rows and columns (rfca)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.launch import cdiv, launch
from rfaconv.backends.triton.operands import Geometry, table
from rfaconv.backends.triton.stats_kernels import reduce_channels, reduce_line
from rfaconv.ops.schema import stats_shapes

__all__ = ["GRADIENT", "STATISTICS", "TIES", "feature_stats", "over_channels", "over_line"]

STATISTICS, GRADIENT, TIES = 0, 1, 2


def feature_stats(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, variant: str, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Maximum and mean (rfcbam), or means of rows and columns (rfca); see the schema of the op."""
    geometry = Geometry.of(x, window)
    shapes = stats_shapes(x, variant, window)
    rows = table(feature_weight, feature_bias)
    if variant == "rfcbam":
        top, mean = (torch.empty(shape, dtype=rows.dtype, device=x.device) for shape in shapes)
        over_channels(x, rows, geometry, STATISTICS, top, top, top, mean)
        return top, mean
    row, col = (rows.new_empty((shape[0], shape[2], shape[1])) for shape in shapes)
    for axis, line in enumerate((row, col)):
        over_line(x, rows, geometry, STATISTICS, axis, line, line, line)
    return row.transpose(1, 2).contiguous(), col.transpose(1, 2).contiguous()


def over_channels(
    x: Tensor,
    rows: Tensor,
    geometry: Geometry,
    mode: int,
    operand: Tensor,
    d_panel: Tensor,
    out: Tensor,
    mean: Tensor,
) -> None:
    """Reduces over channels for the images ``x``; modes as in the kernel."""
    config = configs.tile(geometry.taps, geometry.channels)
    pixels = x.size(0) * geometry.positions
    launch(
        reduce_channels,
        (cdiv(pixels, config.block_p), cdiv(geometry.taps, configs.rows(geometry.taps))),
        x,
        {
            "p_x": x, "p_t": rows, "p_in": operand, "p_da": d_panel, "p_out": out,
            "p_mean": mean,
            "pixels": pixels, **geometry.arguments(x), "MODE": mode, "VECTOR": config.vector,
            "TAPS": configs.rows(geometry.taps), "BLOCK_P": config.block_p,
            "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip


def over_line(
    x: Tensor,
    rows: Tensor,
    geometry: Geometry,
    mode: int,
    axis: int,
    other: Tensor,
    d_panel: Tensor,
    out: Tensor,
) -> None:
    """Reduces ``x`` along rows (axis 0) or columns (axis 1); modes as in the kernel."""
    config = configs.tile(geometry.taps, geometry.channels)
    launch(
        reduce_line,
        (
            x.size(0) * geometry.out[axis],
            cdiv(geometry.channels, config.block_c),
        ),
        x,
        {
            "p_x": x, "p_t": rows, "p_other": other, "p_da": d_panel, "p_out": out,
            **geometry.arguments(x), "MODE": mode, "AXIS": axis, "VECTOR": config.vector,
            "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
