"""Moments of the patches: float32 sums of a few hundred centred pixels, joined in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.checks import check_map, check_operand
from rfaconv.backends.triton.common.launch import cdiv, chunks, launch
from rfaconv.backends.triton.common.operands import Geometry, empty_table, new_map, power_of_two
from rfaconv.backends.triton.moments.kernels import (
    finish_moments,
    moments_operands,
    scan_moments,
    scan_moments_backward,
)
from rfaconv.backends.triton.scan.launch import gather, row_elements

__all__ = ["patch_moments", "patch_moments_backward"]


def patch_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean (C, T) and covariance (C, T, T) of the patches, float64; see the schema of the op."""
    check_map(x, window)
    geometry = Geometry.of(x, window)
    channels, taps, pixels = geometry.channels, geometry.taps, geometry.batch * geometry.positions
    if pixels == 0 or channels == 0:
        mean = torch.full((channels, taps), torch.nan, dtype=torch.float64, device=x.device)
        return mean, mean.unsqueeze(-1).repeat(1, 1, taps)  # the mean of nothing
    shift = x.mean((0, 2, 3), dtype=torch.float32)
    config = configs.along_rows(channels, geometry.out)
    segments = cdiv(geometry.out[0], config.length)
    strips = cdiv(geometry.out[1], configs.LONGEST)  # sums in float32 must not get long
    programs = geometry.batch * segments * strips
    sums = shift.new_empty((programs, taps + taps * taps, channels))
    launch(
        scan_moments,
        (programs, cdiv(channels, config.block_c)),
        x,
        {
            "p_x": x, "p_sums": sums, "p_shift": shift, "segments": segments,
            "length": config.length, "strips": strips, "width": cdiv(geometry.out[1], strips),
            **geometry.arguments(x), "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    mean = torch.empty((channels, taps), dtype=torch.float64, device=x.device)
    cov = torch.empty((channels, taps, taps), dtype=torch.float64, device=x.device)
    launch(
        finish_moments,
        (channels,),
        x,
        {
            # below the diagonal the sums were not written, and are not read
            "p_total": sums.sum(0, dtype=torch.float64), "p_shift": shift, "p_mean": mean,
            "p_cov": cov, "pixels": pixels, "C": channels, "T": taps, "TAPS": power_of_two(taps),
        },
        num_warps=1,
    )  # fmt: skip
    return mean, cov


def patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    """``dx = col2im((dm + (dS + dS^T)(u - m)) / P)``; see the schema of the op."""
    check_map(x, window)
    geometry = Geometry.of(x, window)
    size = geometry.channels, geometry.taps
    for name, value, shape in (("dmean", dmean, size), ("mean", mean, size)):
        check_operand(name, value, shape, x)
    check_operand("dcov", dcov, (*size, geometry.taps), x)
    dx = new_map(x, x.shape)
    if dx.numel() == 0:
        return dx
    rows = empty_table(x, geometry.channels, geometry.taps)
    shift = torch.empty((geometry.channels,), dtype=torch.float32, device=x.device)
    launch(
        moments_operands,
        (geometry.channels,),
        x,
        {
            "p_dmean": dmean.contiguous(), "p_dcov": dcov.contiguous(),
            "p_mean": mean.contiguous(), "p_t": rows, "p_shift": shift,
            "pixels": max(1, geometry.batch * geometry.positions), "C": geometry.channels,
            "T": geometry.taps, "TAPS": power_of_two(geometry.taps),
        },
        num_warps=1,
    )  # fmt: skip
    config = configs.along_rows(geometry.channels, geometry.out)
    segments = cdiv(geometry.out[0], config.length)
    width = row_elements(geometry)
    parts = chunks(geometry.batch, width * x.element_size())
    lines = x.new_empty((parts[0][1], width))
    for first, last in parts:
        part = x[first:last]
        launch(
            scan_moments_backward,
            ((last - first) * segments, cdiv(geometry.channels, config.block_c)),
            x,
            {
                "p_x": part, "p_t": rows, "p_shift": shift, "p_rows": lines,
                "segments": segments, "length": config.length,
                **geometry.part(part).arguments(part), "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip
        gather(lines, dx[first:last], geometry)
    return dx
