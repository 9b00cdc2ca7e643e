# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Reductions of the features over channels (rfcbam), and of the gates' gradients."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import channel_range, feature, load_patch, table_of, widen

STATISTICS = tl.constexpr(0)
GRADIENT = tl.constexpr(1)
TIES = tl.constexpr(2)


@triton.jit
def over(value, EACH: tl.constexpr, TOP: tl.constexpr):
    """Maximum or sum over the channels of a tile, (P, 1), where EACH."""
    if EACH:
        if TOP:
            value = tl.max(value, axis=1, keep_dims=True)
        else:
            value = tl.sum(value, axis=1, keep_dims=True)
    return value


@triton.jit
def reduce_channels(
    p_x, p_t, p_in, p_da, p_out, p_mean, pixels,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, MODE: tl.constexpr,
    EACH: tl.constexpr, VECTOR: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Per pixel and tap, (B, T, Ho, Wo).

    STATISTICS: maximum and mean of f over channels.
    GRADIENT: ``sum_c dA f channel``, ``p_in`` being the channel gate. TIES: how many channels reach
    the maximum, ``p_in``. EACH: every tile of channels is reduced by itself, for one thread has all
    of them.
    """
    T: tl.constexpr = KH * KW
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    o_s = o_p % (HO * WO)
    o_h = o_s // WO
    o_w = o_s % WO
    total = ()
    for _ in tl.static_range(T):
        total = total + (tl.zeros((BLOCK_P, 1 if EACH else BLOCK_C), tl.float32),)
    top = total
    for start in range(0, C, BLOCK_C):
        o_c = channel_range(start, BLOCK_C, VECTOR)
        m_c = o_c < C
        p_row = table_of(p_t, o_c, T)
        o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
        u = load_patch(
            p_x,
            o_image,
            o_h * SH - PT,
            o_w * SW - PL,
            m_p,
            m_c,
            H,
            W,
            x_sh,
            x_sw,
            KH,
            KW,
            DH,
            DW,
            WIDE,
        )
        if MODE == GRADIENT:
            channel = tl.load(p_in + o_b * C + o_c, mask=m_p & m_c, other=0.0)
        new_total = ()
        new_top = ()
        for j in tl.static_range(T):
            f = feature(u, p_row, j, T)
            if MODE == STATISTICS:
                # f is never negative, so the zeros of missing channels change
                # neither sum nor maximum
                value = f
                highest = over(f, EACH, True)
                new_top = new_top + (tl.maximum(top[j], highest),)
            elif MODE == GRADIENT:
                o_row = widen(o_p, WIDE) * (T * C) + j * C + o_c
                d_panel = tl.load(p_da + o_row, mask=m_p & m_c, other=0.0).to(tl.float32)
                value = d_panel * f * channel
            else:
                highest = tl.load(p_in + (o_b * T + j) * (HO * WO) + o_s, mask=m_p, other=0.0)
                value = tl.where((f == highest) & m_c, 1.0, 0.0)
            new_total = new_total + (total[j] + over(value, EACH, False),)
        total = new_total
        if MODE == STATISTICS:
            top = new_top
    o_v = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_out = widen(o_v // (HO * WO), WIDE) * (T * HO * WO) + o_v % (HO * WO)
    m_v = o_v < pixels
    for t in tl.static_range(T):
        o_tap = o_out + t * (HO * WO)
        whole = tl.sum(total[t], axis=1)
        if MODE == STATISTICS:
            whole = whole / C
            highest = tl.max(top[t], axis=1)
            # the maximum of a tile drops NaN; the mean is NaN exactly where a feature is
            tl.store(p_out + o_tap, tl.where(whole == whole, highest, whole), mask=m_v)
            tl.store(p_mean + o_tap, whole, mask=m_v)
        else:
            tl.store(p_out + o_tap, whole, mask=m_v)
