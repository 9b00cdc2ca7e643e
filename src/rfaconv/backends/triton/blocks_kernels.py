# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: E741  (O is the number of outputs, as everywhere)
"""The projection with its features on tensor cores as well.

The features of eight channels are one product: the patches of a tile of pixels, (pixels, 80), with
a matrix of 80 rows and columns that holds a diagonal block of eight channels for every pair of
taps. Seven eighths of it are zeros, and still it is far less work than 81 multiply-adds for each
feature, with their operands brought to every thread one by one.

Rows: nine taps of eight channels, then eight of the constant 1. Columns: nine features of eight
channels, then the sums of the patches. Both come as 64 + 16, for tiles are powers of two. Nine
results of one channel and pixel lie in one thread, so a softmax over taps takes no exchange.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.gates import NONE, RFA, RFCBAM, rfca_tap, rfcbam_begin, rfcbam_tap
from rfaconv.backends.triton.project_kernels import product
from rfaconv.backends.triton.tiles import LOG2E, widen

CHANNELS = tl.constexpr(8)
SIDE = tl.constexpr(80)


@triton.jit
def fill_blocks(
    p_g, p_b, p_w, p_blocks, p_rows, C, VARIANT: tl.constexpr,
):  # fmt: skip
    """The matrices (groups, 80, 80) and the weights of the gate of rfa (groups, 16, 8).

    Weights: w in units of log2 for the sum of a patch, then their largest and smallest. A program
    does one tap i of one group: eight rows.
    """
    group, i = tl.program_id(0), tl.program_id(1)
    o_r = tl.arange(0, 8)[:, None]
    o_n = tl.arange(0, 128)[None, :]
    o_c = group * CHANNELS + o_r
    j = o_n // CHANNELS
    own = (o_r == o_n % CHANNELS) & (o_c < C)
    g = tl.load(p_g + (o_c * 9 + j) * 9 + i, mask=own & (j < 9) & (i < 9), other=0.0)
    b = tl.load(p_b + o_c * 9 + j, mask=own & (j < 9) & (i == 9), other=0.0)
    value = g.to(tl.float32) + b.to(tl.float32) + tl.where(own & (j == 9) & (i < 9), 1.0, 0.0)
    o = (group * SIDE + i * CHANNELS + o_r) * SIDE + o_n
    tl.store(p_blocks + o, value.to(p_blocks.dtype.element_ty), mask=o_n < SIDE)
    if VARIANT == RFA:
        o_t = tl.arange(0, 16)[:, None]
        o_v = group * CHANNELS + tl.arange(0, 8)[None, :]
        m = (o_t < 9) & (o_v < C)
        w = tl.load(p_w + o_v * 9 + o_t, mask=m, other=0.0).to(tl.float32) * (LOG2E / 9)
        high = tl.max(tl.where(o_t < 9, w, float("-inf")), axis=0, keep_dims=True)
        low = tl.min(tl.where(o_t < 9, w, float("inf")), axis=0, keep_dims=True)
        row = tl.where(o_t == 9, high, tl.where(o_t == 10, low, w))
        tl.store(
            p_rows + (group * 16 + o_t) * CHANNELS + tl.arange(0, 8)[None, :], row, mask=i == 0
        )


@triton.jit
def load_taps(
    p_x, o_b, o_h, o_w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, FIRST: tl.constexpr,
    WIDTH: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Inputs (P, WIDTH) under the taps FIRST and following of eight channels; 1 for tap 9."""
    o_n = tl.arange(0, WIDTH)[None, :]
    i = FIRST + o_n // CHANNELS
    o_c = start + o_n % CHANNELS
    h = o_h + (i // 3) * DH
    w = o_w + (i % 3) * DW
    m = m_p & (h >= 0) & (h < H) & (w >= 0) & (w < W)
    o = o_b * x_sb + widen(o_c, WIDE) * x_sc + widen(h, WIDE) * x_sh + widen(w, WIDE) * x_sw
    if FIRST + WIDTH // CHANNELS > 9:
        one = tl.where(i == 9, tl.full(o.shape, 1.0, tl.float32), 0.0)
        u = tl.load(p_x + o, mask=m & (i < 9), other=one.to(p_x.dtype.element_ty))
    else:
        u = tl.load(p_x + o, mask=m, other=0.0)
    return u


@triton.jit
def load_block(
    p_block, FIRST_R: tl.constexpr, ROWS: tl.constexpr, FIRST_N: tl.constexpr, WIDTH: tl.constexpr
):
    """A part of the matrix of a group."""
    o_r = FIRST_R + tl.arange(0, ROWS)[:, None]
    o_n = FIRST_N + tl.arange(0, WIDTH)[None, :]
    return tl.load(p_block + o_r * SIDE + o_n)


@triton.jit
def load_kernel(p_k, o_o, m_o, start, k_so, k_sj, k_sc, FIRST: tl.constexpr, WIDTH: tl.constexpr):
    """Rows (WIDTH, O) of K for the taps FIRST and following of eight channels."""
    o_n = tl.arange(0, WIDTH)[:, None]
    j = FIRST + o_n // CHANNELS
    o_c = start + o_n % CHANNELS
    return tl.load(p_k + o_o * k_so + j * k_sj + o_c * k_sc, mask=m_o & (j < 9), other=0.0)


@triton.jit
def softmax_of(total, p_row, last):
    """Gates of rfa from the sums of the patches (P, 8): (P, 8, 8), and (P, 2, 8) of tap 8 alone."""
    taps = tl.arange(0, 8)[None, :, None]
    p_rows = p_row[:, None, :]
    top = tl.maximum(tl.load(p_row + 9 * CHANNELS) * total, tl.load(p_row + 10 * CHANNELS) * total)
    total, shift = total[:, None, :], top[:, None, :]
    a = tl.exp2(tl.load(p_rows + taps * CHANNELS) * total - shift)
    b = tl.where(last, tl.exp2(tl.load(p_rows + 8 * CHANNELS) * total - shift), 0.0)
    norm = (1.0 / (tl.sum(a, axis=1) + tl.sum(b, axis=1)))[:, None, :]
    return (a * norm, b * norm)


@triton.jit
def gate_of(
    VARIANT: tl.constexpr, p_0, p_1, FIRST: tl.constexpr, TAPS: tl.constexpr, o_b, o_h, o_w, m_p,
    start, C, HO, WO,
):  # fmt: skip
    """Gates (P, TAPS, 8) of rfcbam and rfca for the taps FIRST and following; 0 for tap 9."""
    j = FIRST + tl.arange(0, TAPS)[None, :, None]
    o_c = start + tl.arange(0, CHANNELS)[None, None, :]
    m_c = o_c < C
    b, h, w, m = o_b[:, :, None], o_h[:, :, None], o_w[:, :, None], m_p[:, :, None] & (j < 9)
    if VARIANT == RFCBAM:
        state = rfcbam_begin(p_0, b, o_c, m_p[:, :, None], m_c, C)
        a = rfcbam_tap(state, p_1, j, b, h, w, m, HO, WO, 9)
    else:
        a = rfca_tap(p_0, p_1, j, b, h, w, o_c, m, m_c, C, HO, WO, 3, 3)
    return a


@triton.jit
def gated(
    p_x, p_blocks, p_rows, p_0, p_1, o_b, o_h, o_w, m_p, start, C, H, W, HO, WO, x_sb, x_sc, x_sh,
    x_sw, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr, PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The panel of eight channels in the dtype of ``x``: (P, 64), and (P, 16) of tap 8 alone."""
    group = start // CHANNELS
    p_block = p_blocks + group * (SIDE * SIDE)
    h, w = o_h * SH - PT, o_w * SW - PL
    u = load_taps(p_x, o_b, h, w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, 0, 64, DH, DW, WIDE)
    v = load_taps(p_x, o_b, h, w, m_p, start, H, W, x_sb, x_sc, x_sh, x_sw, 8, 16, DH, DW, WIDE)
    f, e = tl.zeros((BLOCK_P, 64), tl.float32), tl.zeros((BLOCK_P, 16), tl.float32)
    f = product(u, load_block(p_block, 0, 64, 0, 64), f, None, UPCAST)
    f = product(v, load_block(p_block, 64, 16, 0, 64), f, None, UPCAST)
    e = product(u, load_block(p_block, 0, 64, 64, 16), e, None, UPCAST)
    e = product(v, load_block(p_block, 64, 16, 64, 16), e, None, UPCAST)
    f = tl.reshape(f, (BLOCK_P, 8, CHANNELS))
    e = tl.reshape(e, (BLOCK_P, 2, CHANNELS))
    # feature 8 is the first half of e, the sum of the patch the second
    last = tl.arange(0, 2)[None, :, None] == 0
    total = tl.sum(tl.where(last, 0.0, e), axis=1)
    f = tl.maximum(f, 0.0, propagate_nan=tl.PropagateNan.ALL)
    e = tl.where(last, tl.maximum(e, 0.0, propagate_nan=tl.PropagateNan.ALL), 0.0)
    if VARIANT == RFA:
        p_row = p_rows + group * (16 * CHANNELS) + tl.arange(0, CHANNELS)[None, :]
        a, b = softmax_of(total, p_row, last)
        f *= a
        e *= b
    elif VARIANT != NONE:
        f *= gate_of(VARIANT, p_0, p_1, 0, 8, o_b, o_h, o_w, m_p, start, C, HO, WO)
        e *= gate_of(VARIANT, p_0, p_1, 8, 2, o_b, o_h, o_w, m_p, start, C, HO, WO)
    dtype = p_x.dtype.element_ty
    return (tl.reshape(f, (BLOCK_P, 64)).to(dtype), tl.reshape(e, (BLOCK_P, 16)).to(dtype))


@triton.jit
def panel_blocks(
    p_x, p_blocks, p_rows, p_0, p_1, p_panel, pixels,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The panel of some images, (pixels, 9, C), for a library product; eight channels a program."""
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    start = tl.program_id(1) * CHANNELS
    f, e = gated(
        p_x, p_blocks, p_rows, p_0, p_1, o_b, (o_p // WO) % HO, o_p % WO, m_p, start, C, H, W, HO,
        WO, x_sb, x_sc, x_sh, x_sw, SH, SW, PT, PL, DH, DW, WIDE, VARIANT, UPCAST, BLOCK_P,
    )  # fmt: skip
    p_row = p_panel + widen(o_p, WIDE) * (9 * C) + start
    n = tl.arange(0, 64)[None, :]
    m = m_p & (start + n % CHANNELS < C)
    tl.store(p_row + (n // CHANNELS) * C + n % CHANNELS, f, mask=m)
    n = tl.arange(0, 16)[None, :]
    tl.store(p_row + 8 * C + n, e, mask=m_p & (n < CHANNELS) & (start + n < C))


@triton.jit
def project_blocks(
    p_x, p_blocks, p_rows, p_0, p_1, p_k, p_bias, p_y, pixels, O,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw, y_sb, y_so, y_sh, y_sw, k_so, k_sj, k_sc,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    HAS_BIAS: tl.constexpr, UPCAST: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """``y = K (f * a) + bias`` for a 3 x 3 kernel, as ``project_forward`` computes it."""
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]  # (P, 1)
    m_p = o_p < pixels
    o_b = o_p // (HO * WO)
    o_h = ((o_p // WO) % HO).to(tl.int32)
    o_w = (o_p % WO).to(tl.int32)
    o_o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)[None, :]  # (1, O)
    m_o = o_o < O
    acc = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for start in range(0, C, CHANNELS):
        f, e = gated(
            p_x, p_blocks, p_rows, p_0, p_1, o_b, o_h, o_w, m_p, start, C, H, W, HO, WO, x_sb,
            x_sc, x_sh, x_sw, SH, SW, PT, PL, DH, DW, WIDE, VARIANT, UPCAST, BLOCK_P,
        )  # fmt: skip
        k = load_kernel(p_k, o_o, m_o, start, k_so, k_sj, k_sc, 0, 64)
        acc = product(f, k, acc, None, UPCAST)
        k = load_kernel(p_k, o_o, m_o, start, k_so, k_sj, k_sc, 8, 16)
        acc = product(e, k, acc, None, UPCAST)
    if HAS_BIAS:
        acc += tl.load(p_bias + o_o, mask=m_o, other=0.0).to(tl.float32)
    o_y = o_b * y_sb + widen(o_h, WIDE) * y_sh + widen(o_w, WIDE) * y_sw + widen(o_o, WIDE) * y_so
    tl.store(p_y + o_y, acc.to(p_y.dtype.element_ty), mask=m_p & m_o)
