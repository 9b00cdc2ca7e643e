# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Moments of 3 x 3 patches with stride 1 and padding 1, from 13 sums of products instead of 45.

Let v be the map less the shift, and 0 outside of it. The sum of ``v(p + t_i) v(p + t_j)`` over all
windows p depends on the lag ``t_j - t_i`` alone: 25 of them, of which twelve are the others'
negatives. Windows just outside of the map are no outputs, though. One above it sees the first row
with its last taps, so pairs of those lose the products along that row; likewise below, left and
right, and corners were taken off twice. A tap in the padding differs from the shift by the shift,
which takes plain sums of v over the map less up to two lines at its borders.

Numbers of a channel (74): 13 lags and the sum of v; then 15 of every border (above, below, left,
right): lags 0, 1, 2 along its line, the sums of this line and of the next, the values of this line
at its first, second, last but one and last pixel, the same of the next line, the squares at both
ends of this line.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.tiles import channel_range, widen
from rfaconv.backends.triton.walk_kernels import zeros

LAGS = tl.constexpr(14)
BORDER = tl.constexpr(15)
NUMBERS = tl.constexpr(74)


@triton.jit
def rows_of(p_image, h, last, stride, HEIGHT: tl.constexpr, WIDE: tl.constexpr):
    """Pointers to HEIGHT rows from h on; the first or last one in place of those outside."""
    found = ()
    for i in tl.static_range(HEIGHT):
        found = found + (p_image + widen(tl.maximum(0, tl.minimum(h + i, last)), WIDE) * stride,)
    return found


@triton.jit
def inside_of(h, H, HEIGHT: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """1 for every row from h on that lies inside of the map, else 0; rows LOW to HIGH always do.

    A factor is part of the subtraction, where a mask has to clear a register before every load.
    """
    found = ()
    for i in tl.static_range(HEIGHT):
        if i >= LOW and i < HIGH:
            found = found + (tl.full((1, 1), 1.0, tl.float32),)
        else:
            inside = (h + i >= 0) & (h + i < H)
            found = found + (tl.where(inside, tl.full((1, 1), 1.0, tl.float32), 0.0),)
    return found


@triton.jit
def load_rows(
    p_rows, inside, levels, STEP: tl.constexpr, HEIGHT: tl.constexpr, COUNT: tl.constexpr
):  # fmt: skip
    """COUNT columns of HEIGHT rows, less the level of each row; 0 less that outside of the map."""
    found = ()
    for i in tl.static_range(COUNT * HEIGHT):
        value = tl.load(p_rows[i % HEIGHT] + i // HEIGHT * STEP).to(tl.float32)
        factor = tl.broadcast_to(inside[i % HEIGHT], value.shape)
        found = found + (tl.fma(value, factor, -levels[i % HEIGHT]),)
    return found


@triton.jit
def advanced(p_rows, STEP, HEIGHT: tl.constexpr):
    """The pointers STEP elements further."""
    found = ()
    for i in tl.static_range(HEIGHT):
        found = found + (p_rows[i] + STEP,)
    return found


@triton.jit
def lagged(columns, sums, k, NEWEST: tl.constexpr, HEIGHT: tl.constexpr):
    """Sum k and the pair at its lag that ends in the column, and in the row, of NEWEST."""
    if k < 3:  # to the left
        value = tl.fma(columns[NEWEST], columns[NEWEST - k * HEIGHT], sums[k])
    elif (k - 3) % 5 < 2:  # down to the left
        other = columns[NEWEST + ((k - 3) % 5 - 2) * HEIGHT + (k + 2) // 5]
        value = tl.fma(columns[NEWEST], other, sums[k])
    else:  # down to the right, or straight down
        upper = columns[NEWEST - ((k - 3) % 5 - 2) * HEIGHT]
        value = tl.fma(upper, columns[NEWEST + (k + 2) // 5], sums[k])
    return value


@triton.jit
def add_lags(sums, columns, ROWS: tl.constexpr, COUNT: tl.constexpr):
    """Adds the pairs of which a pixel lies in the last COUNT columns and none to the right of it.

    Sums: lags (0, 0..2), (1, -2..2), (2, -2..2), and of v. Columns have ROWS + 2 values; the upper
    pixel of a pair is among the first ROWS.
    """
    for i in tl.static_range(COUNT * ROWS):
        new = ()
        for k in tl.static_range(13):
            new = new + (
                lagged(columns, sums, k, (2 + i // ROWS) * (ROWS + 2) + i % ROWS, ROWS + 2),
            )
        sums = new + (sums[13] + columns[(2 + i // ROWS) * (ROWS + 2) + i % ROWS],)
    return sums


@triton.jit
def last_of(values, COUNT: tl.constexpr):
    """The last COUNT of a tuple."""
    found = ()
    for i in tl.static_range(len(values) - COUNT, len(values)):
        found = found + (values[i],)
    return found


@triton.jit
def add_border(sums, before, p_line, p_next, shift, PARTS: tl.constexpr):
    """Adds PARTS pixels of a line: lags 0, 1, 2, the sum, and that of the next line.

    ``before``: the two pixels that precede them; gives back the last two.
    """
    line = before
    for i in tl.static_range(PARTS):
        line = line + (tl.load(p_line[i]).to(tl.float32) - shift,)
    of_next = sums[4]
    for i in tl.static_range(PARTS):
        of_next += tl.load(p_next[i]).to(tl.float32) - shift
    for i in tl.static_range(PARTS):
        new = ()
        for k in tl.static_range(3):
            new = new + (tl.fma(line[2 + i], line[2 + i - k], sums[k]),)
        sums = new + (sums[3] + line[2 + i], of_next)
    return sums, last_of(line, 2)


@triton.jit
def add_ends(sums, p_ends, shift):
    """Adds the pixels near both ends of a line, of the next line, and the squares of the ends."""
    values, new = (), ()
    for i in tl.static_range(8):
        values = values + (tl.load(p_ends[i]).to(tl.float32) - shift,)
    for i in tl.static_range(8):
        new = new + (sums[i] + values[i],)
    return new + (tl.fma(values[0], values[0], sums[8]), tl.fma(values[3], values[3], sums[9]))


@triton.jit
def walk_strip(
    p_image, p_out, h, shift, C, H, W, x_sh, m_v, STEP: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, LEAST: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The LAGS sums of ROWS rows, of which LEAST lie inside always, COLUMNS pixels at a time."""
    HEIGHT: tl.constexpr = ROWS + 2
    inside = inside_of(h, H, HEIGHT, 0, LEAST)
    levels = ()
    for i in tl.static_range(HEIGHT):
        levels = levels + (inside[i] * shift,)
    p_rows = rows_of(p_image, h, H - 1, x_sh, HEIGHT, WIDE)
    sums = zeros(LAGS, BLOCK_C)
    kept = zeros(2 * HEIGHT, BLOCK_C)
    for w in range(0, W, COLUMNS):
        p_found = advanced(p_rows, (w + 0 * h).to(tl.int64) * STEP, HEIGHT)
        found = load_rows(p_found, inside, levels, STEP, HEIGHT, COLUMNS)
        sums = add_lags(sums, kept + found, ROWS, COLUMNS)
        kept = last_of(kept + found, 2 * HEIGHT)
    for i in tl.static_range(LAGS):
        tl.store(p_out + i * C, sums[i], mask=m_v)


@triton.jit
def walk_border(
    p_channel, p_out, border, first, last, shift, C, H, W, x_sb, x_sh, x_sw, m_v,
    WIDE: tl.constexpr, PARTS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The BORDER sums of one border of the images ``first`` to ``last``, PARTS pixels at a time."""
    along = 1 - border // 2  # whether its line is a row
    back = border % 2  # whether it is the last
    count = along * W + (1 - along) * H
    depth = along * H + (1 - along) * W
    step = widen(along * x_sw + (1 - along) * x_sh, WIDE)
    across = widen(along * x_sh + (1 - along) * x_sw, WIDE)
    inwards = (1 - 2 * back) * across
    p_first = p_channel + back * (depth - 1) * across
    p_line, p_next, p_ends = (), (), ()
    for i in tl.static_range(PARTS):
        p_line = p_line + (p_first + i * step,)
        p_next = p_next + (p_first + (i * step + inwards),)
    for i in tl.static_range(8):
        # 0, 1, count - 2, count - 1
        p_pixel = p_first + (i % 4 + i % 4 // 2 * (count - 4)) * step
        p_ends = p_ends + (p_pixel + i // 4 * inwards,)
    sums = zeros(5, BLOCK_C)
    ends = zeros(10, BLOCK_C)
    for image in range(first, last):
        o_image = (image + 0 * back).to(tl.int64) * x_sb
        before = zeros(2, BLOCK_C)
        for start in range(0, count, PARTS):
            o = o_image + (start + 0 * back).to(tl.int64) * step
            sums, before = add_border(
                sums, before, advanced(p_line, o, PARTS), advanced(p_next, o, PARTS), shift, PARTS
            )
        ends = add_ends(ends, advanced(p_ends, o_image, 8), shift)
    found = sums + ends
    for i in tl.static_range(BORDER):
        tl.store(p_out + i * C, found[i], mask=m_v)


@triton.jit
def walk_lags(
    p_x, p_sums, p_shift, strips, programs, groups, images, B,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw: tl.constexpr,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LEAST: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums (lines, C): LAGS lines of each of ``programs`` that go along ROWS rows of an image,
    COLUMNS pixels at a time (W is a multiple of it), then BORDER lines of each of ``4 * groups``
    that go along one border of ``images`` images.

    The distance of two columns is a constant, as in ``filter_moments``: a row then has one address,
    and a compilation for every number of channels.
    """
    k = tl.program_id(0)
    # threads beyond the last channel do the last one again
    o_c = tl.minimum(channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1), C - 1)
    o_v = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    shift = tl.load(p_shift + o_c)
    p_channel = p_x + widen(o_c, WIDE) * x_sc
    if k < programs:
        walk_strip(
            p_channel + widen(k // strips, WIDE) * x_sb, p_sums + k.to(tl.int64) * LAGS * C + o_v,
            (k % strips) * ROWS, shift, C, H, W, x_sh, o_v < C, x_sw, WIDE, ROWS, LEAST, COLUMNS,
            BLOCK_C,
        )  # fmt: skip
    else:
        line = (programs * LAGS + (k - programs) * BORDER).to(tl.int64)
        first = ((k - programs) % groups) * images
        walk_border(
            p_channel, p_sums + line * C + o_v, (k - programs) // groups, first,
            tl.minimum(first + images, B), shift, C, H, W, x_sb, x_sh, x_sw, o_v < C, WIDE, PARTS,
            BLOCK_C,
        )  # fmt: skip


@triton.jit
def join_lags(p_sums, p_total, programs, groups, C, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """The numbers of every channel (C, NUMBERS), in float64, from what ``walk_lags`` leaves."""
    number = tl.program_id(0)
    o_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    own = number < LAGS
    border = (number - LAGS) // BORDER
    line = programs * LAGS + border * groups * BORDER + (number - LAGS) % BORDER
    first = tl.where(own, number, line)
    step = tl.where(own, LAGS, BORDER)
    count = tl.where(own, programs, groups)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float64)
    for start in range(0, count, BLOCK_P):
        o_k = start + tl.arange(0, BLOCK_P)[:, None]
        o = (first + o_k * step).to(tl.int64) * C + o_c
        total += tl.load(p_sums + o, mask=(o_k < count) & (o_c < C), other=0.0).to(tl.float64)
    value = tl.sum(total, axis=0, keep_dims=True)
    tl.store(p_total + o_c * NUMBERS + number, value, mask=o_c < C)


@triton.jit
def sum_seen(p_channel, a_i, b_i, a_j, b_j, m):
    """The sum of ``v(p + t_i)`` over all outputs p where ``p + t_j`` lies inside of the map too.

    That is over the map less up to two lines at one border of each direction.
    """
    above, below = tl.maximum(a_i, a_i - a_j), tl.maximum(-a_i, a_j - a_i)
    left, right = tl.maximum(b_i, b_i - b_j), tl.maximum(-b_i, b_j - b_i)
    rows, columns = tl.maximum(above, below), tl.maximum(left, right)
    p_row = p_channel + LAGS + tl.where(below > 0, BORDER, 0)
    p_column = p_channel + LAGS + tl.where(right > 0, 3 * BORDER, 2 * BORDER)
    value = tl.load(p_channel + (LAGS - 1))
    for i in tl.static_range(2):
        m_row = m & (rows > i)
        value -= tl.load(p_row + 3 + i, mask=m_row, other=0.0)
        value -= tl.load(p_column + 3 + i, mask=m & (columns > i), other=0.0)
        for k in tl.static_range(2):
            at = 5 + 4 * i + tl.where(right > 0, 3 - k, k)
            value += tl.load(p_row + at, mask=m_row & (columns > k), other=0.0)
    return value


@triton.jit
def sum_products(p_channel, a_i, b_i, a_j, b_j, m):
    """The sum over all outputs p of ``v(p + t_i) v(p + t_j)``."""
    lag = 5 * (a_j - a_i) + b_j - b_i  # negative for the half that is not kept
    value = tl.load(p_channel + tl.abs(lag), mask=m, other=0.0)
    rows, columns = tl.abs(b_j - b_i), tl.abs(a_j - a_i)
    for back in tl.static_range(2):
        sign = 1 - 2 * back
        p_row = p_channel + (LAGS + back * BORDER)
        p_column = p_row + 2 * BORDER
        m_row, m_column = m & (a_i == sign) & (a_j == sign), m & (b_i == sign) & (b_j == sign)
        value -= tl.load(p_row + rows, mask=m_row, other=0.0)
        value -= tl.load(p_column + columns, mask=m_column, other=0.0)
        m_corner = m_row & (b_i == b_j) & (b_i != 0)
        value += tl.load(p_row + tl.where(b_i > 0, 13, 14), mask=m_corner, other=0.0)
    return value


@triton.jit
def count_seen(a_i, b_i, a_j, b_j, B, H, W):
    """Outputs p for which ``p + t_i`` and ``p + t_j`` lie inside of the map."""
    low, high = tl.minimum(0, tl.minimum(a_i, a_j)), tl.maximum(0, tl.maximum(a_i, a_j))
    rows = tl.maximum(0, H - (high - low))
    low, high = tl.minimum(0, tl.minimum(b_i, b_j)), tl.maximum(0, tl.maximum(b_i, b_j))
    columns = tl.maximum(0, W - (high - low))
    return rows.to(tl.float64) * columns.to(tl.float64) * B


@triton.jit
def finish_lags(p_total, p_shift, p_mean, p_cov, B, H, W):
    """Mean and covariance of one channel from its numbers."""
    c = tl.program_id(0)
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    m_i, m = i < 9, (i < 9) & (j < 9)
    a_i, b_i, a_j, b_j = i // 3 - 1, i % 3 - 1, j // 3 - 1, j % 3 - 1
    p_channel = p_total + c * NUMBERS
    shift = tl.load(p_shift + c).to(tl.float64)
    count = count_seen(0 * i, 0 * i, 0 * i, 0 * i, B, H, W)  # all outputs
    # a tap is v where it lies inside, and minus the shift where it does not
    v_i = sum_seen(p_channel, a_i, b_i, a_i, b_i, m_i)
    v_j = sum_seen(p_channel, a_j, b_j, a_j, b_j, j < 9)
    out_i = count - count_seen(a_i, b_i, a_i, b_i, B, H, W)
    out_j = count - count_seen(a_j, b_j, a_j, b_j, B, H, W)
    mixed = v_i - sum_seen(p_channel, a_i, b_i, a_j, b_j, m)
    mixed += v_j - sum_seen(p_channel, a_j, b_j, a_i, b_i, m)
    out = out_i + out_j - count + count_seen(a_i, b_i, a_j, b_j, B, H, W)
    left, right = (v_i - shift * out_i) / count, (v_j - shift * out_j) / count
    second = sum_products(p_channel, a_i, b_i, a_j, b_j, m) - shift * mixed + shift * shift * out
    tl.store(p_mean + c * 9 + i, left + shift, mask=m_i)
    tl.store(p_cov + (c * 9 + i) * 9 + j, second / count - left * right, mask=m)
