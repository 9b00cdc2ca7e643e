# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Kernels over parameters and moments: little to compute, and one launch instead of a dozen."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.gates import RFA, RFCBAM
from rfaconv.backends.triton.tiles import GROUP


@triton.jit
def fill_table(
    p_g, p_b, p_w, p_t, p_q, C, T: tl.constexpr, ROWS: tl.constexpr, TAPS: tl.constexpr,
    GATED: tl.constexpr, QUADS: tl.constexpr,
):  # fmt: skip
    """The tables of one group of channels (see ``operands.tables``); ROWS and TAPS are powers of
    two that hold the rows and T. QUADS: whether that of quads is wanted.
    """
    o_c = tl.program_id(0) * GROUP + tl.arange(0, GROUP)[None, :]
    m_c = o_c < C
    r = tl.arange(0, ROWS)[:, None]
    value = tl.load(p_g + o_c * (T * T) + r, mask=m_c & (r < T * T), other=0.0).to(tl.float32)
    j = r - T * T
    value += tl.load(p_b + o_c * T + j, mask=m_c & (j >= 0) & (j < T), other=0.0)
    if GATED:
        value += tl.load(p_w + o_c * T + (j - T), mask=m_c & (j >= T) & (j < 2 * T), other=0.0)
        t = tl.arange(0, TAPS)[:, None]
        w = tl.load(p_w + o_c * T + t, mask=m_c & (t < T), other=0.0).to(tl.float32)
        high = tl.max(tl.where(t < T, w, float("-inf")), axis=0, keep_dims=True)
        low = tl.min(tl.where(t < T, w, float("inf")), axis=0, keep_dims=True)
        value = tl.where(j == 2 * T, high, tl.where(j == 2 * T + 1, low, value))
    size: tl.constexpr = T * T + 2 * T + 2
    o = (tl.program_id(0) * size + r) * GROUP + tl.arange(0, GROUP)[None, :]
    tl.store(p_t + o, value, mask=r < size)
    if QUADS:
        WIDTH: tl.constexpr = (T + 5) // 4 * 4
        part, entry = r // WIDTH, r % WIDTH
        m_tap, m_last = m_c & (part < T), m_c & (part == T)
        o_g = o_c * (T * T) + part * T + entry
        value = tl.load(p_g + o_g, mask=m_tap & (entry < T), other=0.0).to(tl.float32)
        value += tl.load(p_b + o_c * T + part, mask=m_tap & (entry == T), other=0.0)
        if GATED:
            value += tl.load(p_w + o_c * T + part, mask=m_tap & (entry == T + 1), other=0.0)
            value += tl.load(p_w + o_c * T + entry, mask=m_last & (entry < T), other=0.0)
            value = tl.where((part == T) & (entry == T), high, value)
            value = tl.where((part == T) & (entry == T + 1), low, value)
        o = (tl.program_id(0) * (T + 1) * (WIDTH // 4) + r // 4) * GROUP + o_c % GROUP
        tl.store(p_q + o * 4 + r % 4, value, mask=r < (T + 1) * WIDTH)


@triton.jit
def join_sums(
    p_sums, p_dg, p_db, p_dgate, programs, splits, C, T: tl.constexpr, SOURCE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of G' (C, T, T) and b' (C, T), and of w (C, T) of rfa or of the channel gate (B, C)
    of rfcbam, from the sums (programs, T, T + 2, C) that the programs of a backward kernel leave.

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


@triton.jit
def join_parts(
    p_parts, p_others, p_sum, p_other, parts, size, others, BLOCK_P: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over the second dimension of (A, parts, size) and of (A, parts, others)."""
    axis = tl.program_id(1).to(tl.int64)
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    o_other = o - size
    m, m_other = o < size, (o_other >= 0) & (o_other < others)
    total = tl.zeros((BLOCK_P, BLOCK), tl.float32)
    for start in range(0, parts, BLOCK_P):
        o_k = start + tl.arange(0, BLOCK_P)[:, None]
        o_part = axis * parts + o_k
        total += tl.load(p_parts + o_part * size + o, mask=(o_k < parts) & m, other=0.0)
        p_from = p_others + o_part * others + o_other
        total += tl.load(p_from, mask=(o_k < parts) & m_other, other=0.0)
    value = tl.sum(total, axis=0, keep_dims=True)
    tl.store(p_sum + axis * size + o, value.to(p_sum.dtype.element_ty), mask=m)
    value = value.to(p_other.dtype.element_ty)
    tl.store(p_other + axis * others + o_other, value, mask=m_other)


@triton.jit
def finish_moments(
    p_total, p_shift, p_mean, p_cov, pixels, C, T: tl.constexpr, TAPS: tl.constexpr,
    UPPER: tl.constexpr,
):  # fmt: skip
    """Mean and covariance of one channel from the sums (T + T * T, C) of centred pixels.

    UPPER: what lies below the diagonal of the products was left out.
    """
    c = tl.program_id(0)
    i, j = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    m_i, m = i < T, (i < T) & (j < T)
    count = tl.zeros((1, 1), tl.float64) + pixels  # which is a constant where it is 1
    left = tl.load(p_total + i * C + c, mask=m_i, other=0.0) / count
    right = tl.load(p_total + j * C + c, mask=j < T, other=0.0) / count
    row = tl.minimum(i, j) if UPPER else i + j * 0
    column = tl.maximum(i, j) if UPPER else j + i * 0
    second = tl.load(p_total + (T + row * T + column) * C + c, mask=m, other=0.0) / count
    shift = tl.load(p_shift + c).to(tl.float64)
    tl.store(p_mean + c * T + i, left + shift, mask=m_i)
    tl.store(p_cov + (c * T + i) * T + j, second - left * right, mask=m)


@triton.jit
def moments_operands(
    p_dmean, p_dcov, p_mean, p_t, p_shift, pixels, C, T: tl.constexpr, TAPS: tl.constexpr
):
    """M, k and shift of one channel for ``moments_backward``: ``du = M (u - shift) + k``."""
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
