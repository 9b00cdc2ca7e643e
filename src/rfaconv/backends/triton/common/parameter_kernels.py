# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Puts the parameters of the features into the order in which the kernels read them."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import GROUP


@triton.jit
def fill_table(
    p_g, p_b, p_w, p_t, p_packed, C, T: tl.constexpr, ROWS: tl.constexpr, TAPS: tl.constexpr,
    GATED: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The tables of one group of channels (see ``operands.tables``); ROWS and TAPS are powers of
    two that hold the rows and T. PACKED: whether the second one is wanted.
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
    if PACKED:
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
        tl.store(p_packed + o * 4 + r % 4, value, mask=r < (T + 1) * WIDTH)
