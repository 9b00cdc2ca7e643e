# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""The backward pass of the features as a row scan; see ``common.columns``. Sums over pixels stay in
registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.columns import (
    add_pending,
    last_columns,
    load_columns,
    patch_of,
    store_columns,
    zeros,
)
from rfaconv.backends.triton.common.tiles import (
    channel_range,
    feature_of,
    load_packed,
    packed_of,
    widen,
)
from rfaconv.backends.triton.gates import RFA, RFCBAM, gate_begin, gate_tap, rfa_begin_all
from rfaconv.backends.triton.gates.rfca import col_of, row_of
from rfaconv.backends.triton.gates.rfcbam import tap as pixel_tap
from rfaconv.backends.triton.stats.maxima_kernels import maxima_gradient

STATS_RFCBAM = tl.constexpr(4)
SOURCES = {"rfcbam": 4, "rfca": 5}
"""What a kernel is told for the gradient of statistics; for a projection it is told the variant."""


@triton.jit
def tap_gradient(
    SOURCE: tl.constexpr, f, a, p_0, p_1, p_tap, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO,
    KH: tl.constexpr, KW: tl.constexpr,
):  # fmt: skip
    """``da = dA f`` and ``df`` of tap j with gate a; ``p_tap`` points at dA of tap 0. The means of
    rows and columns of the enlarged map (rfca) have no gate, only df.
    """
    if SOURCE >= 4:
        da = f
        df = row_of(p_0, j, o_b, o_h, o_c, m_p, m_c, C, HO, KH, KW) * (1.0 / (KW * WO))
        df += col_of(p_1, j, o_b, o_w, o_c, m_p, m_c, C, WO, KW) * (1.0 / (KH * HO))
    else:
        d_panel = tl.load(p_tap + j * C, mask=m_p & m_c, other=0.0).to(tl.float32)
        da = d_panel * f
        df = d_panel * a
    return (da, df)


@triton.jit
def scan_backward(
    p_x, p_t, p_0, p_1, p_2, p_s, p_da, p_panel, p_rows, p_sums, segments, length,
    C: tl.constexpr, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, SOURCE: tl.constexpr,
    WITH_PANEL: tl.constexpr, WITH_DU: tl.constexpr, LINKED: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Panel (pixels, T, C), rows of the input's gradient, and sums over pixels (programs, T, T + 2,
    C), of ``length`` rows of output pixels of one image.

    Sums of tap j: T of dG'_j, db'_j, and the gradient of w_j (rfa) or, with the last tap, of the
    channel gate (rfcbam). Reads dA (pixels, T, C) of a projection, or the gradients of statistics;
    LINKED: of both. Then the gates are those of lines, ``p_s`` and ``p_2``, or ``p_1`` for the
    channel and the fourth of the packed numbers for the pixel. C is a constant, so that no address
    of a tap has to be computed: it costs a compilation for every number of channels.
    """
    T: tl.constexpr = KH * KW
    KEPT: tl.constexpr = KW - SW if SW < KW else 0
    o_b = widen(tl.program_id(0) // segments, WIDE)
    begin = (tl.program_id(0) % segments) * length
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    if C % BLOCK_C != 0:
        # threads beyond the last channel do the last one again: a mask would cost registers
        o_c = tl.minimum(o_c, C - 1)
    m_c = tl.full(o_c.shape, 1, tl.int1)
    m_p = tl.full((1, 1), 1, tl.int1)
    p_packed = packed_of(p_t, o_c, T)
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    if LINKED and SOURCE == STATS_RFCBAM:
        scale = tl.load(p_1 + o_b * C + o_c)
    sums = zeros(T * (T + 2), BLOCK_C)
    for h in range(begin, tl.minimum(begin + length, HO)):
        p_line = p_rows + (o_b * HO + h) * (KH * W * C) + o_c
        kept = load_columns(p_image, h * SH - PT, -PL, m_c, H, W, x_sh, x_sw, KH, DH, 0, KEPT, WIDE)
        pending = zeros(KH * KEPT, BLOCK_C)
        for w in range(0, WO):
            columns = kept + load_columns(
                p_image, h * SH - PT, w * SW - PL, m_c, H, W, x_sh, x_sw, KH, DH, KEPT, KW - KEPT,
                WIDE,
            )  # fmt: skip
            kept = last_columns(columns, KH, KW, KEPT)
            u = patch_of(columns, KH, KW)
            o_w = tl.zeros((1, 1), tl.int32) + w
            o_row = ((o_b * HO + h) * WO + w) * (T * C) + o_c
            if SOURCE >= 4:
                state = (u[0],)
            elif SOURCE == RFA:
                state = rfa_begin_all(u, load_packed(p_packed, T, T), T)
            else:
                state = gate_begin(SOURCE, u, p_t, p_0, o_b, o_c, m_p, m_c, C, T)
            du = zeros(T, BLOCK_C)
            new = ()
            dot = du[0]  # sum_j a_j da_j
            pull = du[0]  # sum_j a_j da_j w_j
            level = du[0]  # sum_j a_j w_j
            channel = sums[T * (T + 2) - 1]  # of all taps together, which takes one register
            for j in tl.static_range(T):
                row = load_packed(p_packed, j, T)  # G'_j, b'_j, w_j
                f = feature_of(u, row, row[T], T)
                if SOURCE >= 4:
                    a = f  # statistics have no gate
                elif SOURCE == RFA:
                    a = state[2 + j] * state[1]
                else:
                    a = gate_tap(
                        SOURCE, state, p_t, p_0, p_1, j, o_b, h, o_w, o_c, m_p, m_c, C, HO, WO, KH,
                        KW,
                    )  # fmt: skip
                if SOURCE == STATS_RFCBAM:
                    da = f
                    df, pixel = maxima_gradient(f, p_0, (o_b * HO + h) * WO + w, j, T)
                else:
                    da, df = tap_gradient(
                        SOURCE, f, a, p_0, p_1, p_da + o_row, j, o_b, h, o_w, o_c, m_p, m_c, C, HO,
                        WO, KH, KW,
                    )  # fmt: skip
                if LINKED:
                    d_panel = tl.load(p_da + o_row + j * C).to(tl.float32)
                    if SOURCE == STATS_RFCBAM:
                        d_panel *= pixel
                        channel += d_panel * f
                        df += d_panel * scale
                    else:
                        row_gate = row_of(p_s, j, o_b, h, o_c, m_p, m_c, C, HO, KH, KW)
                        col_gate = col_of(p_2, j, o_b, o_w, o_c, m_p, m_c, C, WO, KW)
                        df += d_panel * (row_gate * col_gate)
                if WITH_PANEL:
                    tl.store(
                        p_panel + o_row + j * C, (f * a).to(p_panel.dtype.element_ty), mask=m_c
                    )
                dv = tl.where(f > 0, df, 0.0)
                given_a = dv * f  # a_j da_j, of which relu' takes nothing that f has not taken
                if SOURCE == RFA:
                    dot += given_a
                    pull += given_a * row[T + 1]
                    level += a * row[T + 1]
                for i in tl.static_range(T):
                    new = new + (tl.fma(dv, u[i], sums[j * (T + 2) + i]),)
                new = new + (sums[j * (T + 2) + T] + dv,)
                extra = sums[j * (T + 2) + T + 1]
                if SOURCE == RFA:
                    extra += given_a * state[0]
                if SOURCE == RFCBAM:
                    one = (tl.full(f.shape, 1.0, tl.float32),)
                    channel += da * pixel_tap(one, p_1, j, o_b, h, o_w, m_p, HO, WO, T)
                if j == T - 1 and (SOURCE == RFCBAM or (LINKED and SOURCE == STATS_RFCBAM)):
                    extra = channel
                new = new + (extra,)
                if WITH_DU:
                    added = ()
                    for i in tl.static_range(T):
                        added = added + (tl.fma(dv, row[i], du[i]),)
                    du = added
            sums = new
            if SOURCE == RFA:
                sums = subtract_shared(sums, dot * state[0] * state[1], state, T)
                added = ()
                for i in tl.static_range(T):
                    added = added + (du[i] + (pull - dot * level) * (1.0 / T),)
                du = added
            if WITH_DU:
                given = add_pending(du, pending, KH, KW, KEPT)
                pending = last_columns(given, KH, KW, KEPT)
                store_columns(p_line, given, w * SW - PL, m_c, W, C, KH, KW - KEPT)
        if WITH_DU:
            store_columns(p_line, pending, WO * SW - PL, m_c, W, C, KH, KEPT)
    o_v = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p_out = p_sums + tl.program_id(0).to(tl.int64) * (T * (T + 2)) * C + o_v
    for i in tl.static_range(T * (T + 2)):
        tl.store(p_out + i * C, tl.sum(sums[i], axis=0), mask=o_v < C)


@triton.jit
def subtract_shared(sums, shared, state, T: tl.constexpr):
    """Takes ``shared`` times the numerator of every tap off the sums of dw of rfa."""
    new = ()
    for k in tl.static_range(T * (T + 2)):
        value = sums[k]
        if k % (T + 2) == T + 1:
            value -= state[2 + k // (T + 2)] * shared
        new = new + (value,)
    return new


@triton.jit
def gather_rows(
    p_rows, p_dx, pixels, C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Every input pixel sums what it received from the output rows that see it, in one order."""
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    o_b = o_p // (H * W)
    o_h = ((o_p // W) % H).to(tl.int32)
    o_w = (o_p % W).to(tl.int32)
    o_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    # a column that no window sees was not written
    newest = tl.minimum((o_w + PL) // SW, WO - 1)
    m = (o_p < pixels) & (o_c < C) & (o_w + PL - newest * SW < KW)
    dx = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for r in tl.static_range(KH):
        h = o_h + PT - r * DH
        seen = (h >= 0) & (h % SH == 0) & (h // SH < HO)
        o = (((o_b * HO + h // SH) * KH + r) * W + o_w) * C + o_c
        dx += tl.load(p_rows + o, mask=seen & m, other=0.0).to(tl.float32)
    o_x = o_b * x_sb + widen(o_h, WIDE) * x_sh + widen(o_w, WIDE) * x_sw + widen(o_c, WIDE) * x_sc
    tl.store(p_dx + o_x, dx.to(p_dx.dtype.element_ty), mask=(o_p < pixels) & (o_c < C))


@triton.jit
def join_sums(
    p_sums, p_dg, p_db, p_dgate, programs, splits, C, T: tl.constexpr, SOURCE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of G' (C, T, T) and b' (C, T), and of w (C, T) of rfa or of the channel gate (B, C)
    of rfcbam, from the sums (programs, T, T + 2, C) that the programs of the scan leave.

    ``splits`` programs share an image. A program joins one number per channel: of T (T + 2), then
    of an image.
    """
    size: tl.constexpr = T * (T + 2)
    row = tl.program_id(0)
    o_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    image = row - size
    own = image >= 0
    first = tl.where(own, image * splits * size + T + 1, row)
    step = tl.where(own, T + 2, size)
    count = tl.where(own, splits * T, programs)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, count, BLOCK_P):
        o_k = start + tl.arange(0, BLOCK_P)[:, None]
        o = (first + o_k * step).to(tl.int64) * C + o_c
        total += tl.load(p_sums + o, mask=(o_k < count) & (o_c < C), other=0.0)
    value = tl.sum(total, axis=0, keep_dims=True)
    j, i = row // (T + 2), row % (T + 2)
    m = (o_c < C) & (image < 0)
    tl.store(p_dg + (o_c * T + j) * T + i, value, mask=m & (i < T))
    tl.store(p_db + o_c * T + j, value, mask=m & (i == T))
    if SOURCE == RFA:
        tl.store(p_dgate + o_c * T + j, value, mask=m & (i == T + 1))
    if SOURCE == RFCBAM:
        tl.store(p_dgate + image * C + o_c, value, mask=(o_c < C) & own)
