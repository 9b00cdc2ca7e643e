# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Both directions of rfca in one row scan: sums over rows and over columns of the enlarged map."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.columns import last_columns, load_columns, patch_of, zeros
from rfaconv.backends.triton.common.tiles import (
    channel_range,
    feature_of,
    load_bias,
    load_row,
    table_of,
    widen,
)
from rfaconv.backends.triton.gates.rfca import col_of, row_of


@triton.jit
def scan_lines(
    p_x, p_t, p_0, p_1, p_da, p_panel, p_row, p_col, segments,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, GRADIENT: tl.constexpr,
    LINKED: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """For ROWS rows of output pixels: along every line, (B, KH * Ho, C), and over the rows that the
    program has of every column, (programs, KW * Wo, C), shares of the means of f; or with GRADIENT
    sums of ``dA f`` times the gate of the other direction. LINKED: and the panel ``f a``.

    ``p_0``, ``p_1``: gates of rows and columns; ``p_da`` (pixels, T, C). A thread has one channel
    and keeps its G' in registers.
    """
    T: tl.constexpr = KH * KW
    KEPT: tl.constexpr = KW - SW if SW < KW else 0
    o_b = widen(tl.program_id(0) // segments, WIDE)
    begin = (tl.program_id(0) % segments) * ROWS
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    p_own = table_of(p_t, o_c, T)
    matrix, biases = (), ()
    for j in tl.static_range(T):
        matrix = matrix + load_row(p_own, j, T)
        biases = biases + (load_bias(p_own, j, T),)
    kept, factors, inside = (), (), ()
    for line in tl.static_range(ROWS):
        h = begin + line
        m = m_c & (h < HO)
        # a row beyond the end has patches of zeros but still features, relu(b'): along the row they
        # are not stored, in the columns they count nothing
        inside = inside + (tl.where(m, 1.0, 0.0),)
        kept = kept + load_columns(
            p_image, h * SH - PT, -PL, m, H, W, x_sh, x_sw, KH, DH, 0, KEPT, WIDE
        )
        if GRADIENT:
            for r in tl.static_range(KH):
                factors = factors + (row_of(p_0, r * KW, o_b, h, o_c, m, m_c, C, HO, KH, KW),)
    along = zeros(ROWS * KH, BLOCK_C)
    share = 1.0 / (KH * HO)
    for w in range(0, WO):
        across = zeros(KW, BLOCK_C)
        if GRADIENT:
            others = ()
            for q in tl.static_range(KW):
                others = others + (col_of(p_1, q, o_b, w, o_c, m_c, m_c, C, WO, KW),)
        new_kept = ()
        new = ()
        for line in tl.static_range(ROWS):
            h = begin + line
            m = m_c & (h < HO)
            columns = ()
            for i in tl.static_range(KEPT * KH):
                columns = columns + (kept[line * KEPT * KH + i],)
            columns = columns + load_columns(
                p_image, h * SH - PT, w * SW - PL, m, H, W, x_sh, x_sw, KH, DH, KEPT, KW - KEPT,
                WIDE,
            )  # fmt: skip
            new_kept = new_kept + last_columns(columns, KH, KW, KEPT)
            u = patch_of(columns, KH, KW)
            o_row = ((o_b * HO + h) * WO + w) * (T * C) + o_c
            for r in tl.static_range(KH):
                total = along[line * KH + r]
                sums = ()
                for q in tl.static_range(KW):
                    g = ()
                    for i in tl.static_range(T):
                        g = g + (matrix[(r * KW + q) * T + i],)
                    f = feature_of(u, g, biases[r * KW + q], T)
                    if GRADIENT:
                        p_tap = p_da + o_row + (r * KW + q) * C
                        d_panel = tl.load(p_tap, mask=m, other=0.0).to(tl.float32)
                        if LINKED:
                            a = others[q] * factors[line * KH + r]
                            p_tap = p_panel + o_row + (r * KW + q) * C
                            tl.store(p_tap, (f * a).to(p_panel.dtype.element_ty), mask=m)
                        f *= d_panel
                        total += f * others[q]
                        sums = sums + (across[q] + f * factors[line * KH + r],)
                    else:
                        total += f
                        sums = sums + (tl.fma(f, inside[line], across[q]),)
                across = sums
                new = new + (total,)
        kept = new_kept
        along = new
        p_out = p_col + (widen(tl.program_id(0), WIDE) * WO + w) * (KW * C) + o_c
        for q in tl.static_range(KW):
            value = across[q] if GRADIENT else across[q] * share
            tl.store(p_out + q * C, value, mask=m_c)
    for line in tl.static_range(ROWS):
        p_out = p_row + (o_b * HO + begin + line) * (KH * C) + o_c
        for r in tl.static_range(KH):
            value = along[line * KH + r] if GRADIENT else along[line * KH + r] / (KW * WO)
            tl.store(p_out + r * C, value, mask=m_c & (begin + line < HO))
