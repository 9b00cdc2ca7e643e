"""Statistics of the features over channels (rfcbam) or over rows and columns (rfca)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton import support
from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.checks import check_features
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import Geometry, channels_last, table
from rfaconv.backends.triton.common.tensor_cores import supports
from rfaconv.backends.triton.stats.kernels import reduce_channels
from rfaconv.backends.triton.stats.line_kernels import scan_lines
from rfaconv.backends.triton.stats.tensor_cores import channels_by_tensor_cores
from rfaconv.ops.schema import stats_shapes

__all__ = ["GRADIENT", "STATISTICS", "TIES", "feature_stats", "over_channels", "over_lines"]

STATISTICS, GRADIENT, TIES = 0, 1, 2


def feature_stats(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, variant: str, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Maximum and mean (rfcbam), or means of rows and columns (rfca); see the schema of the op."""
    check_features(x, feature_weight, feature_bias, window)
    geometry = Geometry.of(x, window)
    # parameters come in 16 bits where nothing is differentiated: the backward kernels would not
    # find these maxima again
    if variant == "rfcbam" and feature_weight.dtype == x.dtype and supports(x, geometry):
        return channels_by_tensor_cores(x, feature_weight, feature_bias, geometry)
    shapes = stats_shapes(x, variant, window)
    rows = table(feature_weight, feature_bias)
    if variant == "rfcbam":
        top, mean = (torch.empty(shape, dtype=rows.dtype, device=x.device) for shape in shapes)
        over_channels(x, rows, geometry, STATISTICS, top, top, top, mean)
        return top, mean
    row, col = over_lines(x, rows, geometry, STATISTICS)
    return row.transpose(1, 2), col.transpose(1, 2)


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
    # with an odd number of eights loads are narrower, and it spills; so it does compiled for sm_80
    # with the panel's gradient
    each = channels_last(x) and geometry.channels % 16 == 0
    each = each and (mode != GRADIENT or support.hopper(x.device))
    config = configs.EIGHTS if each else configs.tile(geometry.channels)
    pixels = x.size(0) * geometry.positions
    launch(
        reduce_channels,
        (cdiv(pixels, config.block_p),),
        x,
        {
            "p_x": x, "p_t": rows, "p_in": operand, "p_da": d_panel, "p_out": out,
            "p_mean": mean,
            "pixels": pixels, **geometry.arguments(x), "MODE": mode, "EACH": each,
            "VECTOR": config.vector, "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip


def over_lines(
    x: Tensor,
    rows: Tensor,
    geometry: Geometry,
    mode: int,
    gates: tuple[Tensor, Tensor] | None = None,
    d_panel: Tensor | None = None,
    panel: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What the images ``x`` give to rows (B, kh*Ho, C) and to columns (B, kw*Wo, C).

    STATISTICS: means of f. GRADIENT: those of the gates, from the panel's gradient; ``panel`` is
    filled, if given.
    """
    (kh, kw), (height, width) = geometry.window.kernel, geometry.out
    batch, channels = x.size(0), geometry.channels
    row = rows.new_empty((batch, kh * height, channels))
    given = (rows, rows) if gates is None else gates
    source = rows if d_panel is None else d_panel
    linked = panel is not None
    # compiled for sm_80 four rows spill with the panel; addresses of 64 bits take as much again
    tight = int(geometry.wide) + int(linked and (geometry.wide or not support.hopper(x.device)))
    config = configs.lines(channels, tight=tight)
    segments = cdiv(height, config.length)
    col = rows.new_empty((batch, segments, kw * width, channels))
    launch(
        scan_lines,
        (batch * segments, cdiv(channels, config.block_c)),
        x,
        {
            "p_x": x, "p_t": rows, "p_0": given[0], "p_1": given[1], "p_da": source,
            "p_panel": source if panel is None else panel,
            "p_row": row, "p_col": col, "segments": segments, **geometry.arguments(x),
            "GRADIENT": mode == GRADIENT, "LINKED": linked, "ROWS": config.length,
            "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    return row, col.sum(1)
