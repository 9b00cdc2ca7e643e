# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Moments of the patches and their gradient as row scans; see ``common.columns``."""

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
    GROUP,
    channel_range,
    load_bias,
    load_row,
    table_of,
    widen,
)


@triton.jit
def centred(columns, shift, COUNT: tl.constexpr):
    """The columns less the shift; zeros of the padding as well."""
    found = ()
    for i in tl.static_range(COUNT):
        found = found + (columns[i] - shift,)
    return found


@triton.jit
def scan_moments(
    p_x, p_sums, p_shift, segments, length, strips, width,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of ``u - shift`` and of the upper triangle of its products, (programs, T + T * T, C),
    over ``length`` rows of ``width`` output pixels; ``segments`` times ``strips`` programs share an
    image.

    The shift is the mean of the channel. Without it the covariance of a map with a large mean would
    be a small difference of large float32 numbers.
    """
    T: tl.constexpr = KH * KW
    KEPT: tl.constexpr = KW - SW if SW < KW else 0
    segment = tl.program_id(0) // strips
    left = (tl.program_id(0) % strips) * width
    o_b = widen(segment // segments, WIDE)
    begin = (segment % segments) * length
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1)
    m_c = o_c < C
    shift = tl.load(p_shift + o_c, mask=m_c, other=0.0)
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    sums = zeros(T * (T + 1), BLOCK_C)
    for h in range(begin, tl.minimum(begin + length, HO)):
        first = load_columns(
            p_image, h * SH - PT, left * SW - PL, m_c, H, W, x_sh, x_sw, KH, DH, 0, KEPT, WIDE
        )
        kept = centred(first, shift, KH * KEPT)
        for w in range(left, tl.minimum(left + width, WO)):
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
def scan_moments_backward(
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
            store_columns(p_line, given, w * SW - PL, m_c, W, C, KH, KW - KEPT)
        store_columns(p_line, pending, WO * SW - PL, m_c, W, C, KH, KEPT)


@triton.jit
def finish_moments(p_total, p_shift, p_mean, p_cov, pixels, C, T: tl.constexpr, TAPS: tl.constexpr):
    """Mean and covariance of one channel from the sums (T + T * T, C) of centred pixels, of which
    nothing lies below the diagonal of the products.
    """
    c = tl.program_id(0)
    i, j = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    m_i, m = i < T, (i < T) & (j < T)
    count = tl.zeros((1, 1), tl.float64) + pixels  # which is a constant where it is 1
    left = tl.load(p_total + i * C + c, mask=m_i, other=0.0) / count
    right = tl.load(p_total + j * C + c, mask=j < T, other=0.0) / count
    o = T + tl.minimum(i, j) * T + tl.maximum(i, j)
    second = tl.load(p_total + o * C + c, mask=m, other=0.0) / count
    shift = tl.load(p_shift + c).to(tl.float64)
    tl.store(p_mean + c * T + i, left + shift, mask=m_i)
    tl.store(p_cov + (c * T + i) * T + j, second - left * right, mask=m)


@triton.jit
def moments_operands(
    p_dmean, p_dcov, p_mean, p_t, p_shift, pixels, C, T: tl.constexpr, TAPS: tl.constexpr
):
    """M, k and shift of one channel for ``scan_moments_backward``: ``du = M (u - shift) + k``."""
    c = tl.program_id(0)
    i, j = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    m_i, m = i < T, (i < T) & (j < T)
    count = tl.zeros((1, 1), tl.float64) + pixels  # which is a constant where it is 1
    p_d = p_dcov + c * (T * T)
    matrix = tl.load(p_d + i * T + j, mask=m, other=0.0)
    matrix = (matrix + tl.load(p_d + j * T + i, mask=m, other=0.0)) / count
    mean = tl.load(p_mean + c * T + j, mask=j < T, other=0.0)
    shift = (tl.sum(mean, axis=1, keep_dims=True) / T).to(tl.float32)
    rest = tl.where(j < T, mean - shift.to(tl.float64), 0.0)
    constant = tl.load(p_dmean + c * T + i, mask=m_i, other=0.0) / count
    constant -= tl.sum(matrix * rest, axis=1, keep_dims=True)
    p_row = p_t + (c // GROUP) * ((T * T + 2 * T + 2) * GROUP) + c % GROUP
    tl.store(p_row + (i * T + j) * GROUP, matrix.to(tl.float32), mask=m)
    tl.store(p_row + (T * T + i) * GROUP, constant.to(tl.float32), mask=m_i)
    tl.store(p_shift + c + i, shift, mask=i == 0)
