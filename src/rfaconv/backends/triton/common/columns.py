# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""Device functions of row scans, which go along rows of output pixels, one channel per thread.

The next window shares its columns but for ``SW`` with this one, so only those are loaded; and what
a column of the input receives from the windows of one output row is complete when the scan leaves
it. So a patch costs ``KH * SW`` loads for T, and its gradient as many stores: the rows (B, Ho, KH,
W, C), which ``gather_rows`` joins.

Columns that are carried along are tuples of tiles (1, C), by column, then by row.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import widen


@triton.jit
def load_columns(
    p_image, h, w, m_c, H, W, x_sh, x_sw, KH: tl.constexpr, DH: tl.constexpr,
    FIRST: tl.constexpr, COUNT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """COUNT columns of the input from ``w + FIRST`` on, KH rows from ``h`` on; zero outside."""
    found = ()
    for i in tl.static_range(COUNT * KH):
        y = h + (i % KH) * DH
        column = w + FIRST + i // KH
        m = m_c & (y >= 0) & (y < H) & (column >= 0) & (column < W)
        o = widen(y, WIDE) * x_sh + widen(column, WIDE) * x_sw
        found = found + (tl.load(p_image + o, mask=m, other=0.0).to(tl.float32),)
    return found


@triton.jit
def patch_of(columns, KH: tl.constexpr, KW: tl.constexpr):
    """The columns of one window in the order of its taps."""
    u = ()
    for j in tl.static_range(KH * KW):
        u = u + (columns[(j % KW) * KH + j // KW],)
    return u


@triton.jit
def store_columns(p_line, columns, w, m_c, W, C, KH: tl.constexpr, COUNT: tl.constexpr):
    """Stores COUNT columns from ``w`` on; ``p_line`` points at column 0 of its first of KH.

    Offsets have 32 bits always, for 64 would spill; ``checks.check_map`` refuses longer lines.
    """
    for i in tl.static_range(COUNT * KH):
        column = w + i // KH
        o = ((i % KH) * W + column) * C
        value = columns[i].to(p_line.dtype.element_ty)
        tl.store(p_line + o, value, mask=m_c & (column >= 0) & (column < W))


@triton.jit
def add_pending(du, pending, KH: tl.constexpr, KW: tl.constexpr, KEPT: tl.constexpr):
    """The patch's gradient by columns, with what earlier windows gave to its first KEPT."""
    columns = ()
    for i in tl.static_range(KH * KW):
        d = du[(i % KH) * KW + i // KH]
        if i < KEPT * KH:
            d += pending[i]
        columns = columns + (d,)
    return columns


@triton.jit
def last_columns(columns, KH: tl.constexpr, KW: tl.constexpr, KEPT: tl.constexpr):
    """Those KEPT columns that the next window sees as well."""
    found = ()
    for i in tl.static_range(KEPT * KH):
        found = found + (columns[(KW - KEPT) * KH + i],)
    return found


@triton.jit
def zeros(COUNT: tl.constexpr, BLOCK_C: tl.constexpr):
    """COUNT tiles of zeros."""
    found = ()
    for _ in tl.static_range(COUNT):
        found = found + (tl.zeros((1, BLOCK_C), tl.float32),)
    return found
