# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)

"""Gates inside the kernels, one file per variant. May import L0 to L2 and Triton.

``begin`` computes what all taps of a (pixels, channels) tile share, ``tap`` the gate of one tap.
The operands come in the layouts that :mod:`rfaconv.backends.triton.operands` prepares. Where taps
are unrolled the compiler merges what ``begin`` and ``tap`` compute alike.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.gates import rfa, rfca, rfcbam

CODES = {"none": 0, "rfa": 1, "rfcbam": 2, "rfca": 3}
"""How a kernel is told its variant."""

NONE = tl.constexpr(0)
RFA = tl.constexpr(1)
RFCBAM = tl.constexpr(2)
RFCA = tl.constexpr(3)

rfa_begin, rfa_begin_all, rfa_tap = rfa.begin, rfa.begin_all, rfa.tap
rfcbam_begin, rfcbam_tap = rfcbam.begin, rfcbam.tap
rfca_tap = rfca.tap


@triton.jit
def gate_begin(VARIANT: tl.constexpr, u, p_row, p_0, o_b, o_c, m_p, m_c, C, T: tl.constexpr):
    """What the gates of all taps of a tile share, as a tuple of tiles."""
    if VARIANT == RFA:
        state = rfa_begin(u, p_row, T)
    elif VARIANT == RFCBAM:
        state = rfcbam_begin(p_0, o_b, o_c, m_p, m_c, C)
    else:
        state = (u[0],)
    return state


@triton.jit
def gate_tap(
    VARIANT: tl.constexpr, state, p_row, p_0, p_1, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO,
    KH: tl.constexpr, KW: tl.constexpr,
):  # fmt: skip
    """Gate of tap j, (P, C), in float32."""
    if VARIANT == RFA:
        a = rfa_tap(state, p_row, j, KH * KW)
    elif VARIANT == RFCBAM:
        a = rfcbam_tap(state, p_1, j, o_b, o_h, o_w, m_p, HO, WO, KH * KW)
    elif VARIANT == RFCA:
        a = rfca_tap(p_0, p_1, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW)
    else:
        a = tl.full(state[0].shape, 1.0, tl.float32)
    return a
