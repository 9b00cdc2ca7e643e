# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Statistics of the features with the features on tensor cores, as the projection computes them.

For inference alone: the gradient of the maximum would have to find these sums again, bit by bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.blocks_kernels import CHANNELS, SIDE, load_block, load_taps
from rfaconv.backends.triton.project_kernels import product
from rfaconv.backends.triton.tiles import widen


@triton.jit
def features_of(
    p_x, p_blocks, o_b, o_h, o_w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, DH: tl.constexpr,
    DW: tl.constexpr, WIDE: tl.constexpr, UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Features (P, 64) and (P, 8), of tap 8, of eight channels; o_h, o_w: where a patch begins."""
    p_block = p_blocks + (start // CHANNELS) * (SIDE * SIDE)
    u = load_taps(p_x, o_b, o_h, o_w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, 0, 64, DH, DW, WIDE)
    v = load_taps(p_x, o_b, o_h, o_w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, 8, 16, DH, DW, WIDE)
    f, e = tl.zeros((BLOCK_P, 64), tl.float32), tl.zeros((BLOCK_P, 8), tl.float32)
    f = product(u, load_block(p_block, 0, 64, 0, 64), f, None, UPCAST)
    f = product(v, load_block(p_block, 64, 16, 0, 64), f, None, UPCAST)
    e = product(u, load_block(p_block, 0, 64, 64, 8), e, None, UPCAST)
    e = product(v, load_block(p_block, 64, 16, 64, 8), e, None, UPCAST)
    f = tl.maximum(f, 0.0, propagate_nan=tl.PropagateNan.ALL)
    e = tl.maximum(e, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return (f, e)


@triton.jit
def store_tap(p_top, p_mean, o, top, total, m, C):
    """Maximum and mean over channels."""
    mean = total * (1.0 / C)
    # the maximum drops NaN; the mean is NaN exactly where a feature is
    tl.store(p_top + o, tl.where(mean == mean, top, mean), mask=m)
    tl.store(p_mean + o, mean, mask=m)


@triton.jit
def channels_blocks(
    p_x, p_blocks, p_top, p_mean, pixels,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, UPCAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Maximum and mean over channels, (B, 9, Ho, Wo); a thread joins the two channels that a
    product leaves with it, threads join theirs once at the end.
    """
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    h = ((o_p // WO) % HO) * SH - PT
    w = (o_p % WO) * SW - PL
    top, total = tl.zeros((BLOCK_P, 8, 4), tl.float32), tl.zeros((BLOCK_P, 8, 4), tl.float32)
    top_8, total_8 = tl.zeros((BLOCK_P, 4), tl.float32), tl.zeros((BLOCK_P, 4), tl.float32)
    for start in range(0, C, CHANNELS):
        f, e = features_of(
            p_x, p_blocks, o_b, h, w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, DH, DW, WIDE,
            UPCAST, BLOCK_P,
        )  # fmt: skip
        f = tl.reshape(f, (BLOCK_P, 8, 4, 2))
        e = tl.reshape(e, (BLOCK_P, 4, 2))
        top = tl.maximum(top, tl.max(f, axis=3))
        total += tl.sum(f, axis=3)
        top_8 = tl.maximum(top_8, tl.max(e, axis=2))
        total_8 += tl.sum(e, axis=2)
    o_out = o_b * (9 * HO * WO) + o_p % (HO * WO)
    j = tl.arange(0, 8)[None, :]
    o = o_out + j * (HO * WO)
    store_tap(p_top, p_mean, o, tl.max(top, axis=2), tl.sum(total, axis=2), m_p, C)
    o = o_out + 8 * (HO * WO)
    top_8, total_8 = tl.max(top_8, axis=1)[:, None], tl.sum(total_8, axis=1)[:, None]
    store_tap(p_top, p_mean, o, top_8, total_8, m_p, C)
