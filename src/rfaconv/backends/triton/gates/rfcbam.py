# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)

"""RFCBAM: ``a = channel[b, c] * pixel[b, j, p]`` (paper, section 3.3). Operands: (B, C) and (B, T,
Ho, Wo).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def begin(p_channel, o_b, o_c, m_p, m_c, C):
    """The gate of the channel (P, C)."""
    return (tl.load(p_channel + o_b * C + o_c, mask=m_p & m_c, other=0.0),)


@triton.jit
def tap(state, p_pixel, j, o_b, o_h, o_w, m_p, HO, WO, T: tl.constexpr):
    """Gate of tap j (P, C)."""
    pixel = tl.load(p_pixel + ((o_b * T + j) * HO + o_h) * WO + o_w, mask=m_p, other=0.0)
    return state[0] * pixel
