# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: E741, SIM109  (O is the number of outputs, as everywhere; Triton has no `in`)
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

from rfaconv.backends.triton.gates import NONE, RFA, RFCA, RFCBAM
from rfaconv.backends.triton.instructions import reciprocal, round_positive
from rfaconv.backends.triton.project_kernels import product
from rfaconv.backends.triton.tiles import LOG2E, widen

CHANNELS = tl.constexpr(8)
SIDE = tl.constexpr(80)


@triton.jit
def fill_blocks(
    p_g, p_b, p_w, p_blocks, p_rows, p_fixed, C, VARIANT: tl.constexpr,
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
    o_f = tl.arange(0, 2)[:, None] * C + group * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    fixed = tl.broadcast_to(tl.arange(0, 2)[:, None].to(tl.float32), o_f.shape)
    tl.store(p_fixed + o_f, fixed.to(p_fixed.dtype.element_ty), mask=i == 0)
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
def find_taps(
    p_x, p_fixed, o_b, o_h, o_w, C: tl.constexpr, H, W, x_sb, x_sh, x_sw,
    FIRST: tl.constexpr, WIDTH: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Pointers (P, WIDTH) to the taps FIRST and following of the first eight channels; the next
    eight lie eight channels further.

    What lies beyond the map is found among the zeros at ``p_fixed``, tap 9 among the ones behind
    them: so no mask is needed where the pointers move along.
    """
    o_n = tl.arange(0, WIDTH)[None, :]
    i = FIRST + o_n // CHANNELS
    o_c = o_n % CHANNELS
    h = o_h + (i // 3) * DH
    w = o_w + (i % 3) * DW
    m = (h >= 0) & (h < H) & (w >= 0) & (w < W)
    o = o_b * x_sb + o_c + widen(h, WIDE) * x_sh + widen(w, WIDE) * x_sw
    if FIRST + WIDTH // CHANNELS > 9:
        p_other = p_fixed + tl.where(i == 9, C, 0) + o_c
        m = m & (i < 9)
    else:
        p_other = p_fixed + o_c
    p = tl.where(m, p_x + o, p_other)
    return tl.multiple_of(tl.max_contiguous(p, (1, 8)), (1, 16))


@triton.jit
def load_block(
    p_block, FIRST_R: tl.constexpr, ROWS: tl.constexpr, FIRST_N: tl.constexpr, WIDTH: tl.constexpr
):
    """A part of the matrix of a group."""
    o_r = FIRST_R + tl.arange(0, ROWS)[:, None]
    o_n = FIRST_N + tl.arange(0, WIDTH)[None, :]
    return tl.load(p_block + o_r * SIDE + o_n)


@triton.jit
def load_kernel(
    p_k, o_o, m_o, C: tl.constexpr, FIRST: tl.constexpr, WIDTH: tl.constexpr, WHOLE: tl.constexpr
):
    """Rows (WIDTH, O) of K (O, 9, C) for the taps FIRST and following of eight channels; for tap
    9, which meets zeros, tap 8 once more.
    """
    o_n = tl.arange(0, WIDTH)[:, None]
    j = FIRST + o_n // CHANNELS if FIRST == 0 else FIRST
    p = p_k + (o_o * (9 * C) + j * C + o_n % CHANNELS)
    return tl.load(p) if WHOLE else tl.load(p, mask=m_o, other=0.0)


@triton.jit
def row_of(tile, index):
    """One row (P, 8) of several (P, n, 8). A thread has them all and takes one: with integers the
    sum of one number and zeros is no instruction.
    """
    own = tl.arange(0, tile.shape[1])[None, :, None] == index
    bits = tl.where(own, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=1).to(tl.float32, bitcast=True)


@triton.jit
def softmax_of(total, p_row, PLAIN: tl.constexpr):
    """Gates of rfa from the sums of the patches (P, 8): (P, 8, 8), and (P, 8) of tap 8."""
    o_t = tl.arange(0, 8)[None, :, None] * CHANNELS + tl.arange(0, CHANNELS)[None, None, :]
    first, second = tl.load(p_row + o_t), tl.load(p_row + 8 * CHANNELS + o_t)
    total = total[:, None, :]
    # of tap 8, then by the largest and by the smallest weight
    others = second * total
    top = tl.maximum(row_of(others, 1), row_of(others, 2))
    b = tl.exp2(row_of(others, 0) - top)
    a = tl.exp2(first * total - top[:, None, :])
    norm = reciprocal(tl.sum(a, axis=1) + b, PLAIN)
    return (a * norm[:, None, :], b * norm)


@triton.jit
def find_gates(
    VARIANT: tl.constexpr, p_rows, p_0, p_1, o_b, o_h, o_w, C: tl.constexpr, HO, WO
):  # fmt: skip
    """What the gates of all channels of the pixels share. Of rfcbam pointers to the gates of the
    first eight channels, gates of the pixels (P, 8, 1) and (P, 1) of tap 8; of rfca pointers to the
    gates of three rows and three columns.
    """
    o_c = tl.arange(0, CHANNELS)[None, :]
    if VARIANT == RFCBAM:
        taps = tl.arange(0, 8)[None, :, None]
        b, h, w = o_b[:, :, None], o_h[:, :, None], o_w[:, :, None]
        state = (
            p_0 + (o_b * C + o_c),
            tl.load(p_1 + (((b * 9 + taps) * HO + h) * WO + w)),
            tl.load(p_1 + (((o_b * 9 + 8) * HO + o_h) * WO + o_w)),
        )
    elif VARIANT == RFCA:
        p_row = p_0 + ((o_b * HO + o_h) * (3 * C) + o_c)
        p_col = p_1 + ((o_b * WO + o_w) * (3 * C) + o_c)
        state = (p_row, p_row + C, p_row + 2 * C, p_col, p_col + C, p_col + 2 * C)
    else:
        state = (p_rows,)
    return state


@triton.jit
def gates_of(VARIANT: tl.constexpr, state, start):
    """Gates (P, 8, 8) of eight channels, and (P, 8) of tap 8; of rfcbam and rfca."""
    if VARIANT == RFCBAM:
        channel = tl.load(state[0] + start)
        a, b = state[1] * channel[:, None, :], state[2] * channel
    else:
        # six loads; a thread finds those of every tap in its registers
        j = tl.arange(0, 8)[None, :, None]
        r, q = j // 3, j % 3
        row_0 = tl.load(state[0] + start)[:, None, :]
        row_1 = tl.load(state[1] + start)[:, None, :]
        row_2 = tl.load(state[2] + start)
        col_0 = tl.load(state[3] + start)[:, None, :]
        col_1 = tl.load(state[4] + start)[:, None, :]
        col_2 = tl.load(state[5] + start)
        b = row_2 * col_2
        row = tl.where(r == 0, row_0, tl.where(r == 1, row_1, row_2[:, None, :]))
        a = row * tl.where(q == 0, col_0, tl.where(q == 1, col_1, col_2[:, None, :]))
    return (a, b)


@triton.jit
def gated(
    p_u, p_v, p_blocks, state, start,
    VARIANT: tl.constexpr, UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The panel of eight channels in the dtype of ``x``: (P, 64), and (P, 16) of tap 8 alone."""
    p_block = p_blocks + (start // CHANNELS) * (SIDE * SIDE)
    u, v = tl.load(p_u + start), tl.load(p_v + start)
    f, e = tl.zeros((BLOCK_P, 64), tl.float32), tl.zeros((BLOCK_P, 16), tl.float32)
    f = product(u, load_block(p_block, 0, 64, 0, 64), f, None, UPCAST)
    f = product(v, load_block(p_block, 64, 16, 0, 64), f, None, UPCAST)
    e = product(u, load_block(p_block, 0, 64, 64, 16), e, None, UPCAST)
    e = product(v, load_block(p_block, 64, 16, 64, 16), e, None, UPCAST)
    f = tl.reshape(f, (BLOCK_P, 8, CHANNELS))
    e = tl.reshape(e, (BLOCK_P, 2, CHANNELS))
    # feature 8 is the first half of e, the sum of the patch the second
    last = tl.arange(0, 2)[None, :, None] == 0
    dtype = u.dtype
    GIVEN: tl.constexpr = VARIANT == RFCBAM or VARIANT == RFCA
    if GIVEN:
        # by any caller: such gates may be negative
        f = tl.maximum(f, 0.0, propagate_nan=tl.PropagateNan.ALL)
        e = tl.maximum(e, 0.0, propagate_nan=tl.PropagateNan.ALL)
        a, b = gates_of(VARIANT, state, start)
    elif VARIANT == RFA:
        a, b = softmax_of(row_of(e, 1), state[0] + start * 16, UPCAST)
    if VARIANT != NONE:
        f *= a
        e *= b[:, None, :]
    f = tl.reshape(f, (BLOCK_P, 64))
    e = tl.reshape(tl.where(last, e, 0.0), (BLOCK_P, 16))
    if GIVEN:
        f, e = f.to(dtype), e.to(dtype)
    else:
        f, e = round_positive(f, dtype, UPCAST), round_positive(e, dtype, UPCAST)
    return (f, e)


@triton.jit
def place_of(o_p, HO, WO, WIDE: tl.constexpr):
    """Image, row and column of output pixels; they are not negative, which makes a division
    cheaper.
    """
    if WIDE:
        line = o_p // WO
        o_b = line // HO
        o_h, o_w = (line - o_b * HO).to(tl.int32), (o_p - line * WO).to(tl.int32)
    else:
        height, width = tl.full((1, 1), HO, tl.uint32), tl.full((1, 1), WO, tl.uint32)
        o_p = o_p.to(tl.uint32)
        line = o_p // width
        o_b = line // height
        o_h, o_w = (line - o_b * height).to(tl.int32), (o_p - line * width).to(tl.int32)
        o_b = o_b.to(tl.int32)
    return o_b, o_h, o_w


@triton.jit
def panel_blocks(
    p_x, p_fixed, p_blocks, p_rows, p_0, p_1, p_panel, pixels, groups,
    C: tl.constexpr, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The panel of some images, (pixels, 9, C), for a library product; ``groups`` times eight
    channels a program.
    """
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b, o_h, o_w = place_of(tl.minimum(o_p, pixels - 1), HO, WO, WIDE)
    h, w = o_h * SH - PT, o_w * SW - PL
    p_u = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 0, 64, DH, DW, WIDE)
    p_v = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 8, 16, DH, DW, WIDE)
    state = find_gates(VARIANT, p_rows, p_0, p_1, o_b, o_h, o_w, C, HO, WO)
    n, n_8 = tl.arange(0, 64)[None, :], tl.arange(0, 16)[None, :]
    p_row = p_panel + o_p * (9 * C) + (n // CHANNELS) * C + n % CHANNELS
    p_last = p_panel + o_p * (9 * C) + 8 * C + n_8
    first = tl.program_id(1) * (groups * CHANNELS)
    for start in range(first, tl.minimum(C, first + groups * CHANNELS), CHANNELS):
        f, e = gated(p_u, p_v, p_blocks, state, start, VARIANT, UPCAST, BLOCK_P)
        tl.store(p_row + start, f, mask=m_p)
        tl.store(p_last + start, e, mask=m_p & (n_8 < CHANNELS))


@triton.jit
def project_blocks(
    p_x, p_fixed, p_blocks, p_rows, p_0, p_1, p_k, p_bias, p_y, pixels, O,
    C: tl.constexpr, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw, y_sb, y_so, y_sh, y_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    HAS_BIAS: tl.constexpr, UPCAST: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr, WHOLE: tl.constexpr,
    DENSE: tl.constexpr,
):  # fmt: skip
    """``y = K (f * a) + bias`` for a 3 x 3 kernel, as ``project_forward`` computes it. WHOLE: there
    are outputs for every block. DENSE: the numbers of y lie one after the other, outputs last.
    """
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]  # (P, 1)
    m_p = o_p < pixels
    o_b, o_h, o_w = place_of(tl.minimum(o_p, pixels - 1), HO, WO, WIDE)
    h, w = o_h * SH - PT, o_w * SW - PL
    p_u = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 0, 64, DH, DW, WIDE)
    p_v = find_taps(p_x, p_fixed, o_b, h, w, C, H, W, x_sb, x_sh, x_sw, 8, 16, DH, DW, WIDE)
    state = find_gates(VARIANT, p_rows, p_0, p_1, o_b, o_h, o_w, C, HO, WO)
    o_o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)[None, :]  # (1, O)
    m_o = o_o < O
    acc = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for first in range(0, C, BLOCK_C):
        for part in tl.static_range(BLOCK_C // CHANNELS):
            start = first + part * CHANNELS
            f, e = gated(p_u, p_v, p_blocks, state, start, VARIANT, UPCAST, BLOCK_P)
            k = load_kernel(p_k + start, o_o, m_o, C, 0, 64, WHOLE)
            acc = product(f, k, acc, None, UPCAST)
            k = load_kernel(p_k + start, o_o, m_o, C, 8, 16, WHOLE)
            acc = product(e, k, acc, None, UPCAST)
    if HAS_BIAS:
        acc += tl.load(p_bias + o_o, mask=m_o, other=0.0).to(tl.float32)
    if DENSE:
        o_y = o_p * O + o_o
    else:
        o_y = o_b * y_sb + widen(o_h, WIDE) * y_sh + widen(o_w, WIDE) * y_sw
        o_y += widen(o_o, WIDE) * y_so
    tl.store(p_y + o_y, acc.to(p_y.dtype.element_ty), mask=m_p & m_o)
