# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)

"""RFCA: ``a = row[b, c, kh*h + j//kw] * col[b, c, kw*w + j%kw]`` (paper, section 3.3).

Operands with the channels last: (B, kh*Ho, C) and (B, kw*Wo, C).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_of(p_row, j, o_b, o_h, o_c, m_p, m_c, C, HO, KH: tl.constexpr, KW: tl.constexpr):
    """Factor of the row of tap j (P, C)."""
    return tl.load(p_row + ((o_b * HO + o_h) * KH + j // KW) * C + o_c, mask=m_p & m_c, other=0.0)


@triton.jit
def col_of(p_col, j, o_b, o_w, o_c, m_p, m_c, C, WO, KW: tl.constexpr):
    """Factor of the column of tap j (P, C)."""
    return tl.load(p_col + ((o_b * WO + o_w) * KW + j % KW) * C + o_c, mask=m_p & m_c, other=0.0)


@triton.jit
def tap(
    p_row, p_col, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH: tl.constexpr, KW: tl.constexpr
):
    """Gate of tap j (P, C)."""
    row = row_of(p_row, j, o_b, o_h, o_c, m_p, m_c, C, HO, KH, KW)
    return row * col_of(p_col, j, o_b, o_w, o_c, m_p, m_c, C, WO, KW)
