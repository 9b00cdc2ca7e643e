# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Statistics of the features with the features on tensor cores, as the projection computes them.

For inference alone: the gradient of the maximum would have to find these sums again, bit by bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tensor_core_kernels import (
    CHANNELS,
    SIDE,
    find_taps,
    load_matrix,
    place_of,
    product,
    row_of,
)
from rfaconv.backends.triton.common.tiles import widen


@triton.jit
def features_of(p_u, p_v, p_matrices, start, UPCAST: tl.constexpr, BLOCK_P: tl.constexpr):
    """Features (P, 64) and (P, 8), of tap 8, of eight channels; p_u, p_v: see ``find_taps``."""
    p_matrix = p_matrices + (start // CHANNELS) * (SIDE * SIDE)
    u, v = tl.load(p_u + start), tl.load(p_v + start)
    f, e = tl.zeros((BLOCK_P, 64), tl.float32), tl.zeros((BLOCK_P, 16), tl.float32)
    f = product(u, load_matrix(p_matrix, 0, 64, 0, 64), f, None, UPCAST)
    f = product(v, load_matrix(p_matrix, 64, 16, 0, 64), f, None, UPCAST)
    e = product(u, load_matrix(p_matrix, 0, 64, 64, 16), e, None, UPCAST)
    e = product(v, load_matrix(p_matrix, 64, 16, 64, 16), e, None, UPCAST)
    # the sums of the patches are of no use here; half of the matrix alone would take loads that are
    # too narrow to run ahead
    e = row_of(tl.reshape(e, (BLOCK_P, 2, CHANNELS)), 0)
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
def channels_tensor_cores(
    p_x, p_fixed, p_matrices, p_top, p_mean, pixels,
    C: tl.constexpr, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, UPCAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Maximum and mean over channels, (B, 9, Ho, Wo); a thread joins the two channels that a
    product leaves with it, threads join theirs once at the end.
    """
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b, o_h, o_w = place_of(tl.minimum(o_p, pixels - 1), HO, WO, WIDE)
    h, w = o_h * SH - PT, o_w * SW - PL
    p_u = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 0, 64, DH, DW, WIDE)
    p_v = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 8, 16, DH, DW, WIDE)
    top, total = tl.zeros((BLOCK_P, 8, 4), tl.float32), tl.zeros((BLOCK_P, 8, 4), tl.float32)
    top_8, total_8 = tl.zeros((BLOCK_P, 4), tl.float32), tl.zeros((BLOCK_P, 4), tl.float32)
    for start in range(0, C, CHANNELS):
        f, e = features_of(p_u, p_v, p_matrices, start, UPCAST, BLOCK_P)
        f = tl.reshape(f, (BLOCK_P, 8, 4, 2))
        e = tl.reshape(e, (BLOCK_P, 4, 2))
        top = tl.maximum(top, tl.max(f, axis=3))
        total += tl.sum(f, axis=3)
        top_8 = tl.maximum(top_8, tl.max(e, axis=2))
        total_8 += tl.sum(e, axis=2)
    o_out = o_b * (8 * HO * WO) + o_p
    j = tl.arange(0, 8)[None, :]
    o = o_out + j * (HO * WO)
    store_tap(p_top, p_mean, o, tl.max(top, axis=2), tl.sum(total, axis=2), m_p, C)
    o = o_out + 8 * (HO * WO)
    top_8, total_8 = tl.max(top_8, axis=1)[:, None], tl.sum(total_8, axis=1)[:, None]
    store_tap(p_top, p_mean, o, top_8, total_8, m_p, C)
