# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005, SIM108  (Triton has neither star expressions nor tiles in a ternary)
"""The gradient of the moments of 3 x 3 patches with stride 1 and padding 1, as a filter of 5 x 5.

Let w be the map less the shift, and minus the shift outside of it, so that ``du_i(p) = k_i + sum_j
M_ij w(p + t_j)`` for every window p. A pixel q receives ``du_i(q - t_i)`` of nine windows. Together
they are a filter whose tap at a lag is the sum of M over all pairs of taps at that lag: 13 numbers,
for M is symmetric. Pixels at a border receive nothing from windows outside of the map: there the
filter loses the taps along that line, of which three numbers are different, and corners, which
were taken off twice, come back.

Table (groups, TABLE, GROUP) of numbers: 13 taps (lags as in ``lag_kernels``) and the constant; of
each border (above, below, left, right) three taps along it and a constant; of each corner (above
left, above right, below left, below right) a tap and a constant.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.lag_kernels import (
    advanced,
    inside_of,
    last_of,
    load_rows,
    rows_of,
)
from rfaconv.backends.triton.tiles import GROUP, channel_range, widen
from rfaconv.backends.triton.walk_kernels import zeros

TABLE = tl.constexpr(38)


@triton.jit
def filter_operands(p_dmean, p_dcov, p_mean, p_t, p_shift, pixels):
    """The table and the shift of one channel: ``M = (dS + dS^T) / P`` and ``k = dm / P - M (m -
    shift)``, summed by lags.
    """
    c = tl.program_id(0)
    r, i = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    m_i, m = i < 9, (r < 9) & (i < 9)
    a, b = i // 3 - 1, i % 3 - 1
    scale = 1.0 / (tl.zeros((1, 1), tl.float64) + pixels)  # which is a constant where it is 1
    p_d = p_dcov + c * 81
    matrix = tl.load(p_d + r * 9 + i, mask=m, other=0.0)
    matrix = (matrix + tl.load(p_d + i * 9 + r, mask=m, other=0.0)) * scale
    mean = tl.load(p_mean + c * 9 + r, mask=r < 9, other=0.0)
    # the middle tap sees every pixel once and no padding: its mean is that of the channel
    shift = tl.load(p_mean + c * 9 + 4).to(tl.float32)
    tl.store(p_shift + c, shift)
    shift = shift.to(tl.float64)
    rest = tl.where(r < 9, mean - shift, 0.0)
    k = tl.load(p_dmean + c * 9 + i, mask=m_i, other=0.0) * scale
    k -= tl.sum(matrix * rest, axis=0, keep_dims=True)
    # constants where all other taps, those outside of a row, of a column, lie in the padding
    alone = k - shift * tl.sum(tl.where(r != i, matrix, 0.0), axis=0, keep_dims=True)
    in_row = k - shift * tl.sum(tl.where(r // 3 != i // 3, matrix, 0.0), axis=0, keep_dims=True)
    in_column = k - shift * tl.sum(tl.where(r % 3 != i % 3, matrix, 0.0), axis=0, keep_dims=True)
    # every number is a sum over taps i, of M_ij or of constants
    n = tl.arange(0, 64)[:, None]
    border, corner = (n - 14) // 4, (n - 30) // 2
    of_lag, of_border, of_corner = n < 13, (n >= 14) & (n < 30), (n >= 30) & (n < 38)
    constant = (n == 13) | (of_border & ((n - 14) % 4 == 3)) | (of_corner & (n % 2 == 1))
    down = tl.where(of_lag, (n + 2) // 5, 0)
    right = tl.where(of_lag, n - 5 * down, 0)
    line = (n - 14) % 4
    down = tl.where(of_border & (border >= 2), line, down)
    right = tl.where(of_border & (border < 2), line, right)
    seen = of_lag | (n == 13)
    at_border = tl.where(border < 2, a == 1 - 2 * (border % 2), b == 1 - 2 * (border % 2))
    seen = seen | (of_border & at_border)
    seen = seen | (of_corner & (a == 1 - 2 * (corner // 2)) & (b == 1 - 2 * (corner % 2)))
    m_j = (a + down <= 1) & (b + right <= 1) & (b + right >= -1)
    m_pair = seen & m_i & m_j & ~constant
    j = i + 3 * down + right
    value = tl.load(p_d + i * 9 + j, mask=m_pair, other=0.0)
    value = (value + tl.load(p_d + j * 9 + i, mask=m_pair, other=0.0)) * scale
    own = tl.where(of_corner, alone, tl.where(border < 2, in_row, in_column))
    own = tl.where(n == 13, k, own)
    value += tl.where(seen & m_i & constant, own, 0.0)
    value = tl.sum(value, axis=1, keep_dims=True).to(tl.float32)
    p_row = p_t + (c // GROUP) * (TABLE * GROUP) + c % GROUP
    tl.store(p_row + n * GROUP, value, mask=n < TABLE)


@triton.jit
def load_numbers(p_row, FIRST: tl.constexpr, COUNT: tl.constexpr, m):
    """COUNT numbers of the table, zeros where m does not hold."""
    found = ()
    for i in tl.static_range(COUNT):
        found = found + (tl.load(p_row + (FIRST + i) * GROUP, mask=m, other=0.0),)
    return found


@triton.jit
def tap_of(taps, own, ROW: tl.constexpr, DOWN: tl.constexpr, RIGHT: tl.constexpr):
    """The tap of the filter of one row of outputs for the input at a lag."""
    if DOWN == 0:
        value = own[ROW * 4 + (RIGHT if RIGHT > 0 else -RIGHT)]
    else:
        value = taps[5 * DOWN + RIGHT if DOWN > 0 else -5 * DOWN - RIGHT]
    return value


@triton.jit
def add_column(columns, K: tl.constexpr, pending, taps, own, ROWS: tl.constexpr):
    """Adds what column K of some columns of ROWS + 4 inputs gives to five columns of ROWS outputs.

    ``pending`` are the first four of them, the last begins.
    """
    new = ()
    for i in tl.static_range(5 * ROWS):
        if i < 4 * ROWS:
            value = pending[i]
        else:
            value = own[i % ROWS * 4 + 3]
        for k in tl.static_range(5):
            tap = tap_of(taps, own, i % ROWS, k - 2, 2 - i // ROWS)
            value = tl.fma(tap, columns[K * (ROWS + 4) + i % ROWS + k], value)
        new = new + (value,)
    return new


@triton.jit
def side(column, numbers, first, last, ROWS: tl.constexpr):
    """What ROWS outputs at the left or right border would receive from windows outside.

    Less what windows at the corners give: ``first`` and ``last``, which are zeros elsewhere.
    """
    found = ()
    for row in tl.static_range(ROWS):
        value = tl.fma(numbers[0], column[row + 2], numbers[3])
        value = tl.fma(numbers[1], column[row + 1] + column[row + 3], value)
        value = tl.fma(numbers[2], column[row] + column[row + 4], value)
        if row == 0:
            value -= tl.fma(first[0], column[row + 2], first[1])
        if row == ROWS - 1:
            value -= tl.fma(last[0], column[row + 2], last[1])
        found = found + (value,)
    return found


@triton.jit
def padded(taps, own, shift, ROW: tl.constexpr, RIGHT: tl.constexpr):
    """What a column of padding gives to an output of one row."""
    value = tap_of(taps, own, ROW, 0, RIGHT)
    for k in tl.static_range(1, 3):
        value += tap_of(taps, own, ROW, k, RIGHT) + tap_of(taps, own, ROW, -k, RIGHT)
    return -shift * value


@triton.jit
def filter_moments(
    p_x, p_t, p_shift, p_dx, strips,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw: tl.constexpr, d_sb, d_sc, d_sh,
    d_sw: tl.constexpr,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """ROWS rows of the gradient of an image, COLUMNS pixels at a time (W is a multiple of it).

    A column of the input is added to the five columns of the gradient that it reaches, so that no
    input has to be kept. The last strip ends with the image; rows that two strips share are
    computed twice.
    """
    HEIGHT: tl.constexpr = ROWS + 4
    o_b = widen(tl.program_id(0) // strips, WIDE)
    h = tl.minimum((tl.program_id(0) % strips) * ROWS, H - ROWS)
    # threads beyond the last channel do the last one again
    o_c = tl.minimum(channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, 1), C - 1)
    shift = tl.load(p_shift + o_c)
    p_image = p_x + o_b * x_sb + widen(o_c, WIDE) * x_sc
    p_rows = rows_of(p_image, h - 2, H - 1, x_sh, HEIGHT, WIDE)
    p_given = rows_of(p_dx + o_b * d_sb + widen(o_c, WIDE) * d_sc, h, H - 1, d_sh, ROWS, WIDE)
    p_row = p_t + (o_c // GROUP) * (TABLE * GROUP) + o_c % GROUP
    above, below = h == 0, h + ROWS == H
    taps = load_numbers(p_row, 0, 14, True)
    # the taps along each row of outputs and its constant
    own = ()
    before, after = load_numbers(p_row, 14, 4, above), load_numbers(p_row, 18, 4, below)
    for i in tl.static_range(4 * ROWS):
        value = taps[i % 4 if i % 4 < 3 else 13]
        if i < 4:
            value -= before[i % 4]
        if i >= 4 * ROWS - 4:
            value -= after[i % 4]
        own = own + (value,)
    inside = inside_of(h - 2, H, HEIGHT, 2, ROWS + 2)
    levels = ()
    for _ in tl.static_range(HEIGHT):
        levels = levels + (shift,)
    # the first two columns of outputs receive from the padding, too
    edge = side(
        load_rows(p_rows, inside, levels, x_sw, HEIGHT, 1), load_numbers(p_row, 22, 4, True),
        load_numbers(p_row, 30, 2, above), load_numbers(p_row, 34, 2, below), ROWS,
    )  # fmt: skip
    pending = zeros(2 * ROWS, BLOCK_C)
    for row in tl.static_range(ROWS):
        value = own[row * 4 + 3] + padded(taps, own, shift, row, -1)
        pending = pending + (value + padded(taps, own, shift, row, -2) - edge[row],)
    for row in tl.static_range(ROWS):
        pending = pending + (own[row * 4 + 3] + padded(taps, own, shift, row, -2),)
    for w in range(0, W, COLUMNS):
        p_from = advanced(p_rows, (w + 0 * h).to(tl.int64) * x_sw, HEIGHT)
        p_to = advanced(p_given, (w + 0 * h).to(tl.int64) * d_sw, ROWS)
        columns = load_rows(p_from, inside, levels, x_sw, HEIGHT, COLUMNS)
        for k in tl.static_range(COLUMNS):
            given = add_column(columns, k, pending, taps, own, ROWS)
            pending = last_of(given, 4 * ROWS)
            store_column(p_to, given, 0, (k - 2) * d_sw, w + k >= 2, ROWS)
    # so do the last two
    p_rows = advanced(p_rows, (W - 1 + 0 * h).to(tl.int64) * x_sw, HEIGHT)
    p_given = advanced(p_given, (W - 2 + 0 * h).to(tl.int64) * d_sw, ROWS)
    edge = side(
        load_rows(p_rows, inside, levels, x_sw, HEIGHT, 1), load_numbers(p_row, 26, 4, True),
        load_numbers(p_row, 32, 2, above), load_numbers(p_row, 36, 2, below), ROWS,
    )  # fmt: skip
    given = ()
    for row in tl.static_range(ROWS):
        given = given + (pending[row] + padded(taps, own, shift, row, 2),)
    for row in tl.static_range(ROWS):
        value = pending[ROWS + row] + padded(taps, own, shift, row, 1)
        given = given + (value + padded(taps, own, shift, row, 2) - edge[row],)
    store_column(p_given, given, 0, 0, True, ROWS)
    store_column(p_given, given, 1, d_sw, True, ROWS)


@triton.jit
def store_column(p_rows, columns, K: tl.constexpr, OFFSET: tl.constexpr, m, ROWS: tl.constexpr):
    """Stores column K of some columns of ROWS outputs, if it is one of the map."""
    for row in tl.static_range(ROWS):
        value = columns[K * ROWS + row].to(p_rows[row].dtype.element_ty)
        tl.store(p_rows[row] + OFFSET, value, mask=m)
