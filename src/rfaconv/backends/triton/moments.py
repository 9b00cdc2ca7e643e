"""Moments of the patches: float32 sums of a few hundred centred pixels, joined in float64.

Windows of 3 x 3 with stride 1 and padding 1 go by ``lags``; what is here is for all others, and
the sums of maps that are too long for those.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.gradients import gather
from rfaconv.backends.triton.lags import LONGEST, gradient_by_lags, lags, moments_by_lags
from rfaconv.backends.triton.launch import cdiv, chunks, launch
from rfaconv.backends.triton.moments_kernels import moments_backward, moments_forward
from rfaconv.backends.triton.moments_walk_kernels import walk_moments, walk_moments_backward
from rfaconv.backends.triton.operands import (
    Geometry,
    empty_table,
    new_map,
    power_of_two,
    strides,
)
from rfaconv.backends.triton.parameter_kernels import finish_moments, moments_operands
from rfaconv.backends.triton.walk_kernels import gather_rows

__all__ = ["patch_moments", "patch_moments_backward"]


def patch_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean (C, T) and covariance (C, T, T) of the patches, float64; see the schema of the op."""
    geometry = Geometry.of(x, window)
    channels, taps, pixels = geometry.channels, geometry.taps, geometry.batch * geometry.positions
    if pixels == 0 or channels == 0:
        mean = torch.full((channels, taps), torch.nan, dtype=torch.float64, device=x.device)
        return mean, mean.unsqueeze(-1).repeat(1, 1, taps)  # the mean of nothing
    shift = x.mean((0, 2, 3), dtype=torch.float32)
    if lags(geometry) and max(geometry.size) <= LONGEST:
        return moments_by_lags(x, shift, geometry)
    walks = _walks(geometry)
    sums = (_walk if walks else _all_taps)(x, shift, geometry)
    mean = torch.empty((channels, taps), dtype=torch.float64, device=x.device)
    cov = torch.empty((channels, taps, taps), dtype=torch.float64, device=x.device)
    launch(
        finish_moments,
        (channels,),
        x,
        {
            "p_total": sums.sum(0, dtype=torch.float64), "p_shift": shift, "p_mean": mean,
            "p_cov": cov, "pixels": pixels, "C": channels, "T": taps, "TAPS": power_of_two(taps),
            "UPPER": walks or taps <= configs.JOINT_TAPS,
        },
        num_warps=1,
    )  # fmt: skip
    return mean, cov


def _walks(geometry: Geometry) -> bool:
    """Whether a walk along rows does it: their sums in float32 must not get long."""
    return geometry.out[1] <= LONGEST and configs.walks(
        geometry.window.kernel, geometry.window.dilation
    )


def _walk(x: Tensor, shift: Tensor, geometry: Geometry) -> Tensor:
    """Sums (programs, T + T * T, C) by rows of output pixels."""
    channels, taps = geometry.channels, geometry.taps
    config = configs.along_rows(channels, geometry.out)
    segments = cdiv(geometry.out[0], config.length)
    sums = shift.new_empty((geometry.batch * segments, taps + taps * taps, channels))
    launch(
        walk_moments,
        (geometry.batch * segments, cdiv(channels, config.block_c)),
        x,
        {
            "p_x": x, "p_sums": sums, "p_shift": shift, "segments": segments,
            "length": config.length, **geometry.arguments(x), "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    return sums


def _all_taps(x: Tensor, shift: Tensor, geometry: Geometry) -> Tensor:
    """The same sums by pixels, whatever the window."""
    channels, taps, pixels = geometry.channels, geometry.taps, geometry.batch * geometry.positions
    config = configs.moments(taps, channels, pixels)
    programs = cdiv(pixels, config.length)
    sums = shift.new_empty((programs, taps + taps * taps, channels))
    launch(
        moments_forward,
        (programs, cdiv(channels, config.block_c), cdiv(taps, config.rows)),
        x,
        {
            "p_x": x, "p_sums": sums, "p_shift": shift, "pixels": pixels, "length": config.length,
            **geometry.arguments(x),
            "TAPS": config.rows, "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    return sums


def _walk_backward(x: Tensor, rows: Tensor, shift: Tensor, dx: Tensor, geometry: Geometry) -> None:
    """Chunk by chunk of images: rows of the gradient, then their sum in ``dx``."""
    channels = geometry.channels
    config = configs.along_rows(channels, geometry.out)
    segments = cdiv(geometry.out[0], config.length)
    width = geometry.out[0] * geometry.window.kernel[0] * geometry.size[1] * channels
    parts = chunks(geometry.batch, width * x.element_size())
    lines = x.new_empty((parts[0][1], width))
    for first, last in parts:
        launch(
            walk_moments_backward,
            ((last - first) * segments, cdiv(channels, config.block_c)),
            x,
            {
                "p_x": x[first:last], "p_t": rows, "p_shift": shift, "p_rows": lines,
                "segments": segments, "length": config.length,
                **geometry.arguments(x), "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip
        gather(gather_rows, {"p_rows": lines}, dx[first:last], geometry)


def patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    """``dx = col2im((dm + (dS + dS^T)(u - m)) / P)``; see the schema of the op."""
    geometry = Geometry.of(x, window)
    dx = new_map(x, x.shape)
    pixels = geometry.batch * geometry.positions
    if dx.numel() == 0:
        return dx
    if lags(geometry):
        gradient_by_lags(dmean, dcov, x, mean, dx, geometry)
        return dx
    rows = empty_table(x, geometry.channels, geometry.taps)
    shift = torch.empty((geometry.channels,), dtype=torch.float32, device=x.device)
    launch(
        moments_operands,
        (geometry.channels,),
        x,
        {
            "p_dmean": dmean.contiguous(), "p_dcov": dcov.contiguous(),
            "p_mean": mean.contiguous(), "p_t": rows, "p_shift": shift, "pixels": max(1, pixels),
            "C": geometry.channels, "T": geometry.taps, "TAPS": power_of_two(geometry.taps),
        },
        num_warps=1,
    )  # fmt: skip
    if _walks(geometry):
        _walk_backward(x, rows, shift, dx, geometry)
        return dx
    config = configs.tile(geometry.taps, geometry.channels)
    pixels = x.size(0) * x.size(2) * x.size(3)
    launch(
        moments_backward,
        (cdiv(pixels, config.block_p), cdiv(geometry.channels, config.block_c)),
        x,
        {
            "p_x": x, "p_t": rows, "p_shift": shift, "p_dx": dx,
            "pixels": pixels,
            **geometry.arguments(x), **strides("d", dx, "bchw"),
            "UNROLL": geometry.taps <= configs.JOINT_TAPS,
            "VECTOR": config.vector, "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    return dx
