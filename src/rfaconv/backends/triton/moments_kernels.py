# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""First and second moments of the patches, and their gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.tiles import (
    GROUP,
    channel_range,
    load_bias,
    load_patch,
    table_of,
    widen,
)


@triton.jit
def moments_forward(
    p_x, p_sums, p_shift, pixels, length,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr,
    TAPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of ``u - shift`` and of the upper triangle of its products, over ``length`` pixels:
    (programs, rows, C).

    The shift is the mean of the channel. Without it the covariance of a map with a large mean would
    be a small difference of large float32 numbers. One program per TAPS rows of the products (axis
    2).
    """
    T: tl.constexpr = KH * KW
    ROWS: tl.constexpr = T + T * T
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    first = tl.program_id(2) * TAPS
    o_image = widen(o_c, WIDE) * x_sc
    shift = tl.load(p_shift + o_c, mask=m_c, other=0.0)
    sums = ()
    for _ in tl.static_range(TAPS * (T + 1)):
        sums = sums + (tl.zeros((BLOCK_P, BLOCK_C), tl.float32),)
    begin = widen(tl.program_id(0), WIDE) * length
    for start in range(0, length, BLOCK_P):
        o_p = begin + start + tl.arange(0, BLOCK_P)[:, None]
        m_p = o_p < pixels
        o_b = o_p // (HO * WO)
        o_h = ((o_p // WO) % HO).to(tl.int32) * SH - PT
        o_w = (o_p % WO).to(tl.int32) * SW - PL
        raw = load_patch(
            p_x, o_b * x_sb + o_image, o_h, o_w, m_p, m_c, H, W, x_sh, x_sw, KH, KW, DH, DW, WIDE
        )
        u = ()
        for i in tl.static_range(T):
            u = u + (tl.where(m_p, raw[i] - shift, 0.0),)
        new = ()
        for t in tl.static_range(TAPS):
            if TAPS == T:
                left = u[t]
            else:
                left = u[0]
                for i in tl.static_range(1, T):
                    left = tl.where(first + t == i, u[i], left)
            new = new + (sums[t * (T + 1)] + left,)
            for i in tl.static_range(T):
                if TAPS == T and i < t:
                    new = new + (sums[t * (T + 1) + 1 + i],)
                else:
                    new = new + (tl.fma(left, u[i], sums[t * (T + 1) + 1 + i]),)
        sums = new
    o_v = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p_out = p_sums + tl.program_id(0).to(tl.int64) * ROWS * C + o_v
    for t in tl.static_range(TAPS):
        m_v = o_v < tl.where(first + t < T, C, 0)
        tl.store(p_out + (first + t) * C, tl.sum(sums[t * (T + 1)], axis=0), mask=m_v)
        for i in tl.static_range(T):
            tl.store(
                p_out + (T + (first + t) * T + i) * C,
                tl.sum(sums[t * (T + 1) + 1 + i], axis=0),
                mask=m_v,
            )


@triton.jit
def seen_through(
    i, p_x, p_row, o_image, o_h, o_w, o_c, m_p, m_c, shift, C, H, W, HO, WO, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What the window that sees the pixels with its tap i gives them: ``(M (u - shift) + k)_i``, 0
    without one.
    """
    h = o_h + PT - (i // KW) * DH
    w = o_w + PL - (i % KW) * DW
    seen = (
        m_p & (h >= 0) & (w >= 0) & (h % SH == 0) & (w % SW == 0) & (h // SH < HO) & (w // SW < WO)
    )
    du = load_bias(p_row, i, KH * KW)
    for j in tl.static_range(KH * KW):
        at_h = o_h + (j // KW - i // KW) * DH
        at_w = o_w + (j % KW - i % KW) * DW
        inside = m_p & (at_h >= 0) & (at_h < H) & (at_w >= 0) & (at_w < W)
        o = o_image + widen(at_h, WIDE) * x_sh + widen(at_w, WIDE) * x_sw
        v = tl.load(p_x + o, mask=inside & m_c, other=0.0).to(tl.float32) - shift
        m = tl.load(p_row + (i * (KH * KW) + j) * GROUP)
        du = tl.fma(tl.broadcast_to(m, v.shape), v, tl.broadcast_to(du, v.shape))
    return tl.where(seen, du, 0.0)


@triton.jit
def moments_backward(
    p_x, p_t, p_shift, p_dx, pixels, C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw, d_sb, d_sc,
    d_sh, d_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, UNROLL: tl.constexpr,
    VECTOR: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``dx = col2im(M (u - shift) + k)`` with M and k in a table as G' and b' are.

    Tap l of the window that sees this pixel with tap i lies ``l - i`` taps away, whatever the
    stride: (2 kh - 1) by (2 kw - 1) neighbours in all, which the compiler loads once each if the
    taps are unrolled.
    """
    T: tl.constexpr = KH * KW
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = o_p // (H * W)
    o_h = ((o_p // W) % H).to(tl.int32)
    o_w = (o_p % W).to(tl.int32)
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, VECTOR)
    m_c = o_c < C
    p_row = table_of(p_t, o_c, T)
    shift = tl.load(p_shift + o_c, mask=m_c, other=0.0)
    o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
    dx = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    if UNROLL:
        for i in tl.static_range(T):
            dx += seen_through(
                i, p_x, p_row, o_image, o_h, o_w, o_c, m_p, m_c, shift, C, H, W, HO, WO, x_sh,
                x_sw,
                KH, KW, SH, SW, PT, PL, DH, DW, WIDE,
            )  # fmt: skip
    else:
        for i in range(T):
            dx += seen_through(
                i, p_x, p_row, o_image, o_h, o_w, o_c, m_p, m_c, shift, C, H, W, HO, WO, x_sh,
                x_sw,
                KH, KW, SH, SW, PT, PL, DH, DW, WIDE,
            )  # fmt: skip
    o_x = o_b * d_sb + widen(o_h, WIDE) * d_sh + widen(o_w, WIDE) * d_sw + widen(o_c, WIDE) * d_sc
    tl.store(p_dx + o_x, dx.to(p_dx.dtype.element_ty), mask=m_p & m_c)
