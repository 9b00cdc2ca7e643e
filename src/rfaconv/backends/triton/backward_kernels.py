# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005, SIM108  (Triton has neither star expressions nor tiles in a ternary)
"""Backward kernels: the gradient of every patch, the sums over pixels, the gather of the patches'
gradients.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.gates import RFA, RFCBAM, gate_begin, gate_tap
from rfaconv.backends.triton.gates.rfca import col_of, row_of
from rfaconv.backends.triton.gates.rfcbam import tap as pixel_tap
from rfaconv.backends.triton.tiles import (
    channel_range,
    feature,
    feature_of,
    load_bias,
    load_patch,
    load_row,
    load_weight,
    table_of,
    widen,
)

STATS_RFCBAM = tl.constexpr(4)
STATS_RFCA = tl.constexpr(5)
SOURCES = {"rfcbam": 4, "rfca": 5}
"""What a kernel is told for the gradient of statistics; for a projection it is told the variant."""


@triton.jit
def stats_gradient(
    SOURCE: tl.constexpr, f, p_0, p_1, p_s, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO,
    KH: tl.constexpr, KW: tl.constexpr,
):  # fmt: skip
    """Df of tap j from the gradients of the statistics: of maximum and mean over channels, of which
    ``p_s`` is the maximum (rfcbam), or of the means of rows and columns of the enlarged map.
    """
    if SOURCE == STATS_RFCBAM:
        one = (tl.full(f.shape, 1.0, tl.float32),)
        top = pixel_tap(one, p_s, j, o_b, o_h, o_w, m_p, HO, WO, KH * KW)
        d_top = pixel_tap(one, p_0, j, o_b, o_h, o_w, m_p, HO, WO, KH * KW)
        d_mean = pixel_tap(one, p_1, j, o_b, o_h, o_w, m_p, HO, WO, KH * KW)
        df = d_mean * (1.0 / C) + tl.where(f == top, d_top, 0.0)
    else:
        df = row_of(p_0, j, o_b, o_h, o_c, m_p, m_c, C, HO, KH, KW) * (1.0 / (KW * WO))
        df += col_of(p_1, j, o_b, o_w, o_c, m_p, m_c, C, WO, KW) * (1.0 / (KH * HO))
    return df


@triton.jit
def tap_gradient(
    SOURCE: tl.constexpr, f, a, p_0, p_1, p_s, p_tap, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO,
    KH: tl.constexpr, KW: tl.constexpr,
):  # fmt: skip
    """``da = dA f`` and ``df`` of tap j with gate a; ``p_tap`` points at dA of tap 0. Statistics
    have no gate.
    """
    if SOURCE >= 4:
        da = f
        df = stats_gradient(
            SOURCE, f, p_0, p_1, p_s, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW
        )
    else:
        d_panel = tl.load(p_tap + j * C, mask=m_p & m_c, other=0.0).to(tl.float32)
        da = d_panel * f
        df = d_panel * a
    return (da, df)


@triton.jit
def gated_gradient(
    SOURCE: tl.constexpr, f, state, p_row, p_0, p_1, p_s, p_tap, j, o_b, o_h, o_w, o_c, m_p, m_c, C,
    HO, WO, KH: tl.constexpr, KW: tl.constexpr,
):  # fmt: skip
    """Gate a of tap j from the table of rows, then :func:`tap_gradient`."""
    if SOURCE >= 4:
        a = f
    else:
        a = gate_tap(
            SOURCE, state, p_row, p_0, p_1, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW
        )
    da, df = tap_gradient(
        SOURCE, f, a, p_0, p_1, p_s, p_tap, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW
    )
    return (a, da, df)


@triton.jit
def patch_backward(
    p_x, p_t, p_0, p_1, p_s, p_da, p_panel, p_du, p_dot, pixels,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, SOURCE: tl.constexpr,
    WITH_PANEL: tl.constexpr, WITH_DU: tl.constexpr, VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradient of every patch, du (pixels, T, C), and on the way the panel (pixels, T, C).

    Reads dA (pixels, T, C) of a projection, or the gradients of statistics. For rfa it also leaves
    ``sum_j a_j da_j`` (pixels, C), which the gradient of w needs.
    """
    T: tl.constexpr = KH * KW
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    o_h = (o_p // WO) % HO
    o_w = o_p % WO
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, VECTOR)
    m_c = o_c < C
    p_row = table_of(p_t, o_c, T)
    m = m_p & m_c
    o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
    u = load_patch(
        p_x, o_image, o_h * SH - PT, o_w * SW - PL, m_p, m_c, H, W, x_sh, x_sw, KH, KW, DH, DW, WIDE
    )
    o_row = widen(o_p, WIDE) * (T * C) + o_c
    if SOURCE >= 4:
        state = (u[0],)
    else:
        state = gate_begin(SOURCE, u, p_row, p_0, o_b, o_c, m_p, m_c, C, T)
    zero = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    du = ()
    for _ in tl.static_range(T):
        du = du + (zero,)
    dot = zero  # sum_j a_j da_j
    pull = zero  # sum_j a_j da_j w_j
    level = zero  # sum_j a_j w_j
    for j in range(T):
        row = load_row(p_row, j, T)
        f = feature_of(u, row, load_bias(p_row, j, T), T)
        a, da, df = gated_gradient(
            SOURCE,
            f,
            state,
            p_row,
            p_0,
            p_1,
            p_s,
            p_da + o_row,
            j,
            o_b,
            o_h,
            o_w,
            o_c,
            m_p,
            m_c,
            C,
            HO,
            WO,
            KH,
            KW,
        )
        if WITH_PANEL:
            tl.store(p_panel + o_row + j * C, (f * a).to(p_panel.dtype.element_ty), mask=m)
        if SOURCE == RFA:
            w = load_weight(p_row, j, T)
            dot += a * da
            pull += a * da * w
            level += a * w
        if WITH_DU:
            dv = tl.where(f > 0, df, 0.0)
            new = ()
            for i in tl.static_range(T):
                new = new + (tl.fma(dv, tl.broadcast_to(row[i], dv.shape), du[i]),)
            du = new
    if SOURCE == RFA:
        tl.store(p_dot + widen(o_p, WIDE) * C + o_c, dot, mask=m)
    if WITH_DU:
        for i in tl.static_range(T):
            d = du[i]
            if SOURCE == RFA:
                d += (pull - dot * level) * (1.0 / T)  # through mean(u)
            tl.store(p_du + o_row + i * C, d.to(p_du.dtype.element_ty), mask=m)


@triton.jit
def parameter_backward(
    p_x, p_t, p_0, p_1, p_s, p_da, p_dot, p_sums, splits, length,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, SOURCE: tl.constexpr,
    TAPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over ``length`` pixels of one image, for BLOCK_C channels and TAPS rows j: (programs, T,
    T + 2, C).

    A row has the T entries of dG'_j, then db'_j, then the gradient of the gate's parameter: dw_j
    (rfa), or the tap's share of the gradient of the channel gate (rfcbam). A thread holds one
    channel, so the sums stay in its registers.
    """
    T: tl.constexpr = KH * KW
    program = tl.program_id(0)
    o_b = widen(program // splits, WIDE)
    begin = (program % splits) * length
    end = tl.minimum(begin + length, HO * WO)
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    p_row = table_of(p_t, o_c, T)
    first = tl.program_id(2) * TAPS
    sums = ()
    for _ in tl.static_range(TAPS * (T + 2)):
        sums = sums + (tl.zeros((BLOCK_P, BLOCK_C), tl.float32),)
    for start in range(begin, end, BLOCK_P):
        o_p = start + tl.arange(0, BLOCK_P)[:, None]
        m_p = o_p < end
        o_h = o_p // WO
        o_w = o_p % WO
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
        o_pixel = o_b * (HO * WO) + o_p
        if SOURCE >= 4:
            state = (u[0],)
        else:
            state = gate_begin(SOURCE, u, p_row, p_0, o_b, o_c, m_p, m_c, C, T)
        if SOURCE == RFA:
            dot = tl.load(p_dot + o_pixel * C + o_c, mask=m_p & m_c, other=0.0)
        new = ()
        for t in tl.static_range(TAPS):
            j = tl.minimum(first + t, T - 1)
            f = feature(u, p_row, j, T)
            a, da, df = gated_gradient(
                SOURCE, f, state, p_row, p_0, p_1, p_s, p_da + o_pixel * (T * C) + o_c, j,
                o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW,
            )  # fmt: skip
            dv = tl.where(f > 0, df, 0.0)
            for i in tl.static_range(T):
                new = new + (tl.fma(dv, u[i], sums[t * (T + 2) + i]),)
            new = new + (sums[t * (T + 2) + T] + dv,)
            if SOURCE == RFA:
                extra = a * (da - dot) * state[0]
            elif SOURCE == RFCBAM:
                one = (tl.full(f.shape, 1.0, tl.float32),)
                extra = da * pixel_tap(one, p_1, j, o_b, o_h, o_w, m_p, HO, WO, T)
            else:
                extra = tl.zeros_like(f)
            new = new + (sums[t * (T + 2) + T + 1] + extra,)
        sums = new
    o_v = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p_out = p_sums + (program.to(tl.int64) * T + first) * ((T + 2) * C) + o_v
    for t in tl.static_range(TAPS):
        m_v = o_v < tl.where(first + t < T, C, 0)
        for i in tl.static_range(T + 2):
            tl.store(p_out + (t * (T + 2) + i) * C, tl.sum(sums[t * (T + 2) + i], axis=0), mask=m_v)


@triton.jit
def gather_patches(
    p_du, p_dx, pixels, C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``dx = col2im(du)``: every input pixel sums over the windows that see it, always in the same
    order.
    """
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = o_p // (H * W)
    o_h = ((o_p // W) % H).to(tl.int32)
    o_w = (o_p % W).to(tl.int32)
    o_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    m_c = o_c < C
    dx = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for i in tl.static_range(KH * KW):
        h = o_h + PT - (i // KW) * DH
        w = o_w + PL - (i % KW) * DW
        seen = (
            m_p
            & (h >= 0)
            & (w >= 0)
            & (h % SH == 0)
            & (w % SW == 0)
            & (h // SH < HO)
            & (w // SW < WO)
        )
        o = ((o_b * HO + h // SH) * WO + w // SW) * (KH * KW * C) + i * C + o_c
        dx += tl.load(p_du + o, mask=seen & m_c, other=0.0).to(tl.float32)
    o_x = o_b * x_sb + widen(o_h, WIDE) * x_sh + widen(o_w, WIDE) * x_sw + widen(o_c, WIDE) * x_sc
    tl.store(p_dx + o_x, dx.to(p_dx.dtype.element_ty), mask=m_p & m_c)
