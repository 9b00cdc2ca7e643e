"""Moments of 3 x 3 patches with stride 1 and padding 1 by the distances of their taps."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.filter_kernels import TABLE, filter_moments, filter_operands
from rfaconv.backends.triton.lag_kernels import (
    BORDER,
    LAGS,
    NUMBERS,
    finish_lags,
    join_lags,
    walk_lags,
)
from rfaconv.backends.triton.launch import cdiv, launch
from rfaconv.backends.triton.operands import GROUP, Geometry, strides

__all__ = ["LONGEST", "gradient_by_lags", "lags", "moments_by_lags"]

LONGEST = 256
"""Pixels that are summed in float32 before float64."""


def lags(geometry: Geometry) -> bool:
    """Whether the window is the one for which products go by the lag of their taps.

    Borders of a map must not meet within a window: of smaller maps little is left of its filter.
    """
    window = geometry.window
    usual = (window.kernel, window.stride, window.dilation) == ((3, 3), (1, 1), (1, 1))
    return usual and window.padding == ((1, 1), (1, 1)) and min(geometry.size) >= 3


def moments_by_lags(x: Tensor, shift: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Mean (C, T) and covariance (C, T, T), float64, of a map with pixels."""
    channels, taps, batch = geometry.channels, geometry.taps, geometry.batch
    config = configs.lag_sums(channels, geometry.size)
    strips = cdiv(geometry.size[0], config.rows)
    programs, groups = batch * strips, cdiv(batch, config.images)
    lines = programs * LAGS.value + 4 * groups * BORDER.value
    sums = shift.new_empty((lines, channels))
    launch(
        walk_lags,
        (programs + 4 * groups, cdiv(channels, config.block_c)),
        x,
        {
            "p_x": x, "p_sums": sums, "p_shift": shift, "strips": strips, "programs": programs,
            "groups": groups, "images": config.images, "B": batch, **geometry.arguments(x),
            "ROWS": config.rows, "LEAST": geometry.size[0] - (strips - 1) * config.rows,
            "COLUMNS": config.columns, "PARTS": config.parts, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    total = torch.empty((channels, NUMBERS.value), dtype=torch.float64, device=x.device)
    tile = configs.join_wide(programs)
    launch(
        join_lags,
        (NUMBERS.value, cdiv(channels, tile.block_c)),
        x,
        {
            "p_sums": sums, "p_total": total, "programs": programs, "groups": groups,
            "C": channels, "BLOCK_P": tile.block_p, "BLOCK_C": tile.block_c,
        },
        num_warps=tile.warps,
    )  # fmt: skip
    mean = torch.empty((channels, taps), dtype=torch.float64, device=x.device)
    cov = torch.empty((channels, taps, taps), dtype=torch.float64, device=x.device)
    launch(
        finish_lags,
        (channels,),
        x,
        {
            "p_total": total, "p_shift": shift, "p_mean": mean, "p_cov": cov, "B": batch,
            "H": geometry.size[0], "W": geometry.size[1],
        },
        num_warps=4,
    )  # fmt: skip
    return mean, cov


def gradient_by_lags(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, dx: Tensor, geometry: Geometry
) -> None:
    """Writes ``dx`` of a map with pixels."""
    channels, height = geometry.channels, geometry.size[0]
    groups = cdiv(channels, GROUP)
    table = torch.empty((groups, TABLE.value, GROUP), dtype=torch.float32, device=x.device)
    shift = torch.empty((channels,), dtype=torch.float32, device=x.device)
    launch(
        filter_operands,
        (channels,),
        x,
        {
            "p_dmean": dmean.contiguous(), "p_dcov": dcov.contiguous(),
            "p_mean": mean.contiguous(), "p_t": table, "p_shift": shift,
            "pixels": geometry.batch * geometry.positions,
        },
        num_warps=2,
    )  # fmt: skip
    config = configs.lag_filter(channels, geometry.size)
    strips = cdiv(height, config.rows)
    launch(
        filter_moments,
        (geometry.batch * strips, cdiv(channels, config.block_c)),
        x,
        {
            "p_x": x, "p_t": table, "p_shift": shift, "p_dx": dx, "strips": strips,
            **geometry.arguments(x), **strides("d", dx, "bchw"),
            "ROWS": config.rows, "COLUMNS": config.columns, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
