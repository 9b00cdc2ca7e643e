# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Features as a product on tensor cores: what the kernels of the projection and of the statistics
share.

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

from rfaconv.backends.triton.common.tiles import LOG2E, widen
from rfaconv.backends.triton.gates import RFA

CHANNELS = tl.constexpr(8)
SIDE = tl.constexpr(80)


@triton.jit
def product(a, b, acc, PRECISION: tl.constexpr, UPCAST: tl.constexpr):
    """``acc + a b``; UPCAST because the interpreter multiplies the bits of bfloat16 operands as
    integers.
    """
    if UPCAST:
        acc = tl.dot(a.to(tl.float32), b.to(tl.float32), acc)
    else:
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    return acc


@triton.jit
def fill_matrices(
    p_g, p_b, p_w, p_matrices, p_rows, p_fixed, C, VARIANT: tl.constexpr,
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
    tl.store(p_matrices + o, value.to(p_matrices.dtype.element_ty), mask=o_n < SIDE)
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
def load_matrix(
    p_matrix, FIRST_R: tl.constexpr, ROWS: tl.constexpr, FIRST_N: tl.constexpr, WIDTH: tl.constexpr
):
    """A part of the matrix of a group."""
    o_r = FIRST_R + tl.arange(0, ROWS)[:, None]
    o_n = FIRST_N + tl.arange(0, WIDTH)[None, :]
    return tl.load(p_matrix + o_r * SIDE + o_n)


@triton.jit
def row_of(tile, index):
    """One row (P, 8) of several (P, n, 8). A thread has them all and takes one: with integers the
    sum of one number and zeros is no instruction.
    """
    own = tl.arange(0, tile.shape[1])[None, :, None] == index
    bits = tl.where(own, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=1).to(tl.float32, bitcast=True)


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
