"""The backward pass of the statistics, chunk by chunk of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import check_features, check_operand
from rfaconv.backends.triton.common.launch import cdiv, chunks, launch
from rfaconv.backends.triton.common.operands import Geometry, new_map, power_of_two, tables
from rfaconv.backends.triton.scan.kernels import SOURCES
from rfaconv.backends.triton.scan.launch import FeatureGradients, gather
from rfaconv.backends.triton.stats.launch import TIES, over_channels
from rfaconv.backends.triton.stats.maxima_kernels import share_maxima
from rfaconv.ops.schema import stats_shapes

__all__ = ["feature_stats_backward", "shared_maxima"]


def feature_stats_backward(
    d0: Tensor,
    d1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the statistics; see the schema of ``rfaconv::feature_stats_backward``."""
    check_features(x, feature_weight, feature_bias, window)
    for name, value, shape in zip(
        ("d0", "d1"), (d0, d1), stats_shapes(x, variant, window), strict=True
    ):
        check_operand(name, value, shape, x)
    geometry = Geometry.of(x, window)
    both = tables(feature_weight, feature_bias, packed=True)
    rows = both[0]
    if variant == "rfcbam":
        top = check_operand("s0", s0, d0.shape, x).contiguous()
        ties = torch.empty_like(top)
        over_channels(x, rows, geometry, TIES, top, top, ties, ties)
        shared = shared_maxima(d0.contiguous(), ties, d1.contiguous(), top, geometry)
        operands = [shared] * 3
    else:
        operands = [d0.transpose(1, 2).contiguous(), d1.transpose(1, 2).contiguous()]
    scan = FeatureGradients(x, both[1], geometry, SOURCES[variant])
    dx = new_map(x, x.shape)
    parts = chunks(geometry.batch, scan.width * x.element_size())
    du = x.new_empty((parts[0][1] if parts else 0, scan.width))
    for first, last in parts:
        now = [v[first:last] for v in operands]
        scan.run(first, last, [*now, rows], du, None, du)
        gather(du, dx[first:last], geometry)
    dg, db, _ = scan.joined()
    return dx, dg.to(feature_weight.dtype), db.to(feature_bias.dtype)


def shared_maxima(
    dtop: Tensor,
    ties: Tensor,
    dmean: Tensor,
    top: Tensor,
    geometry: Geometry,
    pixel: Tensor | None = None,
) -> Tensor:
    """The packed numbers that a scan makes the gradient of the features from, with the pixel gate
    if given.

    Equal maxima share their gradient; one of zero has none to give, relu'(0) = 0.
    """
    batch, taps, *_ = top.shape
    packed = torch.empty((batch, *geometry.out, taps, 4), dtype=top.dtype, device=top.device)
    pixels, block = batch * geometry.positions, 64
    launch(
        share_maxima,
        (cdiv(pixels, block),),
        top,
        {
            "p_dtop": dtop, "p_ties": ties, "p_dmean": dmean, "p_top": top, "p_packed": packed,
            "p_pixel": top if pixel is None else pixel, "LINKED": pixel is not None,
            "pixels": pixels, "image": geometry.positions, "C": geometry.channels, "T": taps,
            "TAPS": power_of_two(taps), "BLOCK_P": block,
        },
        num_warps=4,
    )  # fmt: skip
    return packed
