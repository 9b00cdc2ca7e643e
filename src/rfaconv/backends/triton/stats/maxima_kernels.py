# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Gradients of the statistics of rfcbam as a row scan reads them: the numbers of a tap side
by side.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import split_packed


@triton.jit
def share_maxima(
    p_dtop, p_ties, p_dmean, p_top, p_pixel, p_packed, pixels, image, C, T: tl.constexpr,
    TAPS: tl.constexpr, LINKED: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Packed numbers (B, Ho, Wo, T, 4) from maps (B, T, Ho, Wo): the share of the maximum's
    gradient, the mean's per channel, the maximum, and if LINKED the pixel gate, else zero.
    ``image``: pixels of one; TAPS a power of two.

    Equal maxima share their gradient. Where no channel has the maximum, which is NaN, none takes
    what is divided by zero here.
    """
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    j = tl.arange(0, TAPS)[None, :]
    m = (o_p < pixels) & (j < T)
    o = ((o_p // image) * T + j) * image + o_p % image
    top = tl.load(p_top + o, mask=m, other=0.0)
    d_top = tl.load(p_dtop + o, mask=m, other=0.0)
    d_top /= tl.load(p_ties + o, mask=m, other=1).to(tl.float32)
    d_mean = tl.load(p_dmean + o, mask=m, other=0.0) * (1.0 / C)
    pixel = tl.load(p_pixel + o, mask=m, other=0.0) if LINKED else tl.zeros_like(top)
    four = tl.join(tl.join(d_top, top), tl.join(d_mean, pixel))
    four = tl.reshape(four, (BLOCK_P, TAPS, 4))
    o = (o_p.to(tl.int64) * T + j)[:, :, None] * 4 + tl.arange(0, 4)[None, None, :]
    tl.store(p_packed + o, four, mask=tl.broadcast_to(m[:, :, None], four.shape))


@triton.jit
def maxima_gradient(f, p_packed, pixel, j, T: tl.constexpr):
    """Df of tap j of one pixel from the packed numbers, and the pixel gate."""
    o = (pixel.to(tl.int64) * T + j) * 4 + tl.arange(0, 4)[None, :]
    d_top, d_mean, top, gate = split_packed(tl.load(p_packed + o))
    return (d_mean + tl.where(f == top, d_top, 0.0), gate)
