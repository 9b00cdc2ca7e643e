# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005, SIM108  (Triton has neither star expressions nor tiles in a ternary)
"""Device functions that every kernel shares: patches, features, the position of a pixel.

A tile is (pixels, channels). Names: ``o_`` offsets, ``m_`` masks, ``p_`` pointers. A patch is a
tuple of T tiles, so that each tap lives in registers under a static index.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
GROUP = tl.constexpr(16)


@triton.jit
def widen(index, WIDE: tl.constexpr):
    """The index in 64 bits where a map holds 2**31 elements or more."""
    if WIDE:
        result = index.to(tl.int64)
    else:
        result = index
    return result


@triton.jit
def channel_range(start, BLOCK_C: tl.constexpr, VECTOR: tl.constexpr):
    """Channels (1, BLOCK_C) of a tile; a thread takes at most VECTOR neighbouring ones.

    Without the bound the compiler gives a thread eight channels of one pixel, and every feature
    weight would be loaded for a single product.
    """
    o_c = start + tl.arange(0, BLOCK_C)
    return tl.max_contiguous(o_c, VECTOR)[None, :]


@triton.jit
def table_of(p_t, o_c, T: tl.constexpr):
    """Pointers (1, C) to row 0 of the table of each channel; row r lies ``r * GROUP`` further.

    The rows (see ``operands.table``): T * T of G', T of b', T of the weights of the gate of rfa,
    then their largest and smallest.
    Groups of channels keep the distance of two rows a constant, which costs no instruction, and the
    channels of a tile together.
    """
    return p_t + (o_c // GROUP) * ((T * T + 2 * T + 2) * GROUP) + o_c % GROUP


@triton.jit
def load_patch(
    p_x, o_image, o_h, o_w, m_p, m_c, H, W, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The T inputs under the kernel, in float32, zero outside of the map.

    ``o_image``: offset of image and channel (P, C); ``o_h``, ``o_w``: first row and column (P, 1),
    may be negative.
    """
    p_first = p_x + (o_image + widen(o_h, WIDE) * x_sh + widen(o_w, WIDE) * x_sw)
    rows = ()
    for r in tl.static_range(KH):
        rows = rows + (m_p & (o_h + r * DH >= 0) & (o_h + r * DH < H),)
    columns = ()
    for q in tl.static_range(KW):
        columns = columns + ((o_w + q * DW >= 0) & (o_w + q * DW < W),)
    u = ()
    for j in tl.static_range(KH * KW):
        m = rows[j // KW] & columns[j % KW] & m_c
        step = (j // KW) * DH * x_sh + (j % KW) * DW * x_sw
        u = u + (tl.load(p_first + step, mask=m, other=0.0).to(tl.float32),)
    return u


@triton.jit
def load_row(p_row, j, T: tl.constexpr):
    """Row j of G' as T tiles (1, C); ``p_row`` from ``table_of``."""
    p_first = p_row + j * (T * GROUP)
    row = ()
    for i in tl.static_range(T):
        row = row + (tl.load(p_first + i * GROUP),)
    return row


@triton.jit
def load_bias(p_row, j, T: tl.constexpr):
    """b'_j (1, C)."""
    return tl.load(p_row + (T * T + j) * GROUP)


@triton.jit
def load_weight(p_row, j, T: tl.constexpr):
    """Weight w_j of the gate of rfa (1, C); the largest and smallest for j = T and T + 1."""
    return tl.load(p_row + (T * T + T + j) * GROUP)


@triton.jit
def packed_of(p_packed, o_c, T: tl.constexpr):
    """Pointers (C, 4) to the first four packed parameters of each channel (see
    ``operands.tables``), ``o_c`` (1, C); the next four lie ``4 GROUP`` further.
    """
    WIDTH: tl.constexpr = (T + 5) // 4
    channel = tl.reshape(o_c, (o_c.shape[1], 1))
    p_first = p_packed + (channel // GROUP) * ((T + 1) * WIDTH * 4 * GROUP) + channel % GROUP * 4
    return p_first + tl.arange(0, 4)[None, :]


@triton.jit
def split_packed(four):
    """The four columns of a tile (C, 4), each (1, C)."""
    even, odd = tl.split(tl.reshape(four, (four.shape[0], 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return (first[None, :], second[None, :], third[None, :], fourth[None, :])


@triton.jit
def load_packed(p_packed, part, T: tl.constexpr):
    """One part of the packed parameters, tiles (1, C): of tap ``part`` G'_j, b'_j and w_j; of part
    T w, its largest and its smallest entry. One load takes four of them.
    """
    WIDTH: tl.constexpr = (T + 5) // 4
    found = ()
    for q in tl.static_range(WIDTH):
        found = found + split_packed(tl.load(p_packed + (part * WIDTH + q) * (4 * GROUP)))
    return found


@triton.jit
def feature_of(u, row, bias, T: tl.constexpr):
    """``relu(row . u + bias)``; NaN stays NaN.

    The products are explicit fused multiply-adds: a feature is the same number in every kernel,
    which the gradient of the maximum over channels relies on.
    """
    f = tl.broadcast_to(bias, u[0].shape)
    for i in tl.static_range(T):
        f = tl.fma(u[i], tl.broadcast_to(row[i], f.shape), f)
    return tl.maximum(f, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def feature(u, p_row, j, T: tl.constexpr):
    """Feature j of one patch."""
    return feature_of(u, load_row(p_row, j, T), load_bias(p_row, j, T), T)
