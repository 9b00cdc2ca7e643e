# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Moments of the patches and their gradient as walks along rows; see ``walk_kernels``."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.tiles import channel_range, load_bias, load_row, table_of, widen
from rfaconv.backends.triton.walk_kernels import (
    add_pending,
    last_columns,
    load_columns,
    patch_of,
    store_columns,
    zeros,
)


@triton.jit
def centred(columns, shift, COUNT: tl.constexpr):
    """The columns less the shift; zeros of the padding as well."""
    found = ()
    for i in tl.static_range(COUNT):
        found = found + (columns[i] - shift,)
    return found


@triton.jit
def walk_moments(
    p_x, p_sums, p_shift, segments, length,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over ``length`` rows of output pixels as ``moments_forward`` leaves them, (programs, T +
    T * T, C); nothing below the diagonal of the products.
    """
    T: tl.constexpr = KH * KW
    KEPT: tl.constexpr = KW - SW if SW < KW else 0
    o_b = widen(tl.program_id(0) // segments, WIDE)
    begin = (tl.program_id(0) % segments) * length
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    shift = tl.load(p_shift + o_c, mask=m_c, other=0.0)
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    sums = zeros(T * (T + 1), BLOCK_C)
    for h in range(begin, tl.minimum(begin + length, HO)):
        first = load_columns(
            p_image, h * SH - PT, -PL, m_c, H, W, x_sh, x_sw, KH, DH, 0, KEPT, WIDE
        )
        kept = centred(first, shift, KH * KEPT)
        for w in range(0, WO):
            found = load_columns(
                p_image, h * SH - PT, w * SW - PL, m_c, H, W, x_sh, x_sw, KH, DH, KEPT, KW - KEPT,
                WIDE,
            )  # fmt: skip
            columns = kept + centred(found, shift, KH * (KW - KEPT))
            kept = last_columns(columns, KH, KW, KEPT)
            u = patch_of(columns, KH, KW)
            new = ()
            for t in tl.static_range(T):
                new = new + (sums[t * (T + 1)] + u[t],)
                for i in tl.static_range(T):
                    if i < t:
                        new = new + (sums[t * (T + 1) + 1 + i],)
                    else:
                        new = new + (tl.fma(u[t], u[i], sums[t * (T + 1) + 1 + i]),)
            sums = new
    o_v = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p_out = p_sums + tl.program_id(0).to(tl.int64) * (T + T * T) * C + o_v
    for t in tl.static_range(T):
        tl.store(p_out + t * C, tl.sum(sums[t * (T + 1)], axis=0), mask=o_v < C)
        for i in tl.static_range(t, T):
            value = tl.sum(sums[t * (T + 1) + 1 + i], axis=0)
            tl.store(p_out + (T + t * T + i) * C, value, mask=o_v < C)


@triton.jit
def walk_moments_backward(
    p_x, p_t, p_shift, p_rows, segments, length,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Rows of the input's gradient of ``du = M (u - shift) + k``; M and k in a table as G' and b'
    are.
    """
    T: tl.constexpr = KH * KW
    KEPT: tl.constexpr = KW - SW if SW < KW else 0
    o_b = widen(tl.program_id(0) // segments, WIDE)
    begin = (tl.program_id(0) % segments) * length
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    shift = tl.load(p_shift + o_c, mask=m_c, other=0.0)
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    p_row = table_of(p_t, o_c, T)
    matrix, constants = (), ()
    for j in tl.static_range(T):
        matrix = matrix + load_row(p_row, j, T)
        constants = constants + (load_bias(p_row, j, T),)
    for h in range(begin, tl.minimum(begin + length, HO)):
        p_line = p_rows + (o_b * HO + h) * (KH * W * C) + o_c
        first = load_columns(
            p_image, h * SH - PT, -PL, m_c, H, W, x_sh, x_sw, KH, DH, 0, KEPT, WIDE
        )
        kept = centred(first, shift, KH * KEPT)
        pending = zeros(KH * KEPT, BLOCK_C)
        for w in range(0, WO):
            found = load_columns(
                p_image, h * SH - PT, w * SW - PL, m_c, H, W, x_sh, x_sw, KH, DH, KEPT, KW - KEPT,
                WIDE,
            )  # fmt: skip
            columns = kept + centred(found, shift, KH * (KW - KEPT))
            kept = last_columns(columns, KH, KW, KEPT)
            u = patch_of(columns, KH, KW)
            du = ()
            for j in tl.static_range(T):
                d = constants[j]
                for i in tl.static_range(T):
                    d = tl.fma(matrix[j * T + i], u[i], d)
                du = du + (d,)
            given = add_pending(du, pending, KH, KW, KEPT)
            pending = last_columns(given, KH, KW, KEPT)
            store_columns(p_line, given, w * SW - PL, m_c, W, C, KH, KW - KEPT, WIDE)
        store_columns(p_line, pending, WO * SW - PL, m_c, W, C, KH, KEPT, WIDE)
