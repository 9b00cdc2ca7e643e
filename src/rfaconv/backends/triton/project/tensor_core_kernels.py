# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: E741, SIM109  (O is the number of outputs, as everywhere; Triton has no `in`)
"""The projection with its features on tensor cores as well; see ``common.tensor_core_kernels``."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.instructions import reciprocal, round_positive
from rfaconv.backends.triton.common.tensor_core_kernels import (
    CHANNELS,
    SIDE,
    find_taps,
    load_matrix,
    place_of,
    product,
    row_of,
)
from rfaconv.backends.triton.common.tiles import widen
from rfaconv.backends.triton.gates import NONE, RFA, RFCA, RFCBAM


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
def softmax_of(total, p_row, PLAIN: tl.constexpr):
    """Gates of rfa from the sums of the patches (P, 8): (P, 8, 8), and (P, 8) of tap 8."""
    o_t = tl.arange(0, 8)[None, :, None] * CHANNELS + tl.arange(0, CHANNELS)[None, None, :]
    first, second = tl.load(p_row + o_t), tl.load(p_row + 8 * CHANNELS + o_t)
    # of tap 8, the largest and the smallest; which of both has the largest logit, see ``gates.rfa``
    others = tl.broadcast_to(second, (total.shape[0], 8, CHANNELS))
    top = tl.where(total < 0, row_of(others, 2), row_of(others, 1))
    b = tl.exp2((row_of(others, 0) - top) * total)
    a = tl.exp2((first - top[:, None, :]) * total[:, None, :])
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
    p_u, p_v, p_matrices, state, start,
    VARIANT: tl.constexpr, UPCAST: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The panel of eight channels in the dtype of ``x``: (P, 64), and (P, 16) of tap 8 alone."""
    p_matrix = p_matrices + (start // CHANNELS) * (SIDE * SIDE)
    u, v = tl.load(p_u + start), tl.load(p_v + start)
    f, e = tl.zeros((BLOCK_P, 64), tl.float32), tl.zeros((BLOCK_P, 16), tl.float32)
    f = product(u, load_matrix(p_matrix, 0, 64, 0, 64), f, None, UPCAST)
    f = product(v, load_matrix(p_matrix, 64, 16, 0, 64), f, None, UPCAST)
    e = product(u, load_matrix(p_matrix, 0, 64, 64, 16), e, None, UPCAST)
    e = product(v, load_matrix(p_matrix, 64, 16, 64, 16), e, None, UPCAST)
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
def panel_tensor_cores(
    p_x, p_fixed, p_matrices, p_rows, p_0, p_1, p_panel, pixels, groups,
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
        f, e = gated(p_u, p_v, p_matrices, state, start, VARIANT, UPCAST, BLOCK_P)
        tl.store(p_row + start, f, mask=m_p)
        tl.store(p_last + start, e, mask=m_p & (n_8 < CHANNELS))


@triton.jit
def project_tensor_cores(
    p_x, p_fixed, p_matrices, p_rows, p_0, p_1, p_k, p_bias, p_y, pixels, O,
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
            f, e = gated(p_u, p_v, p_matrices, state, start, VARIANT, UPCAST, BLOCK_P)
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
