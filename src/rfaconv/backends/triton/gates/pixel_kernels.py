# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""The spatial gate of rfcbam: a convolution over the enlarged maps of maximum and mean.

A pixel of the enlarged map next to one of a window's own taps is a tap of that window or of the one
beside it. A thread has one window: it loads the taps within reach once and computes the gates of
all its own.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import widen


@triton.jit
def load_reach(
    p_image, h, w, m_p, HO, WO, KH: tl.constexpr, KW: tl.constexpr, RH: tl.constexpr,
    RW: tl.constexpr,
):  # fmt: skip
    """Entries (KH + 2 RH) x (KW + 2 RW) of an enlarged map around one window; zero outside."""
    found = ()
    for i in tl.static_range((KH + 2 * RH) * (KW + 2 * RW)):
        # where Python rounds down the kernel language may not: no negative numbers are divided
        r = i // (KW + 2 * RW) - RH + KH * RH
        q = i % (KW + 2 * RW) - RW + KW * RW
        y, z = h + (r // KH - RH), w + (q // KW - RW)
        m = m_p & (y >= 0) & (y < HO) & (z >= 0) & (z < WO)
        o = (((r % KH) * KW + q % KW) * HO + y) * WO + z
        found = found + (tl.load(p_image + o, mask=m, other=0.0),)
    return found


@triton.jit
def convolve_reach(
    total, entries, p_weight, w_sh, w_sw, KH: tl.constexpr, KW: tl.constexpr, RH: tl.constexpr,
    RW: tl.constexpr,
):  # fmt: skip
    """Adds the convolution of one map to the sums of all taps."""
    SPAN: tl.constexpr = KW + 2 * RW
    for i in tl.static_range((2 * RH + 1) * (2 * RW + 1)):
        o_i = (i // (2 * RW + 1)) * w_sh + (i % (2 * RW + 1)) * w_sw
        weight = tl.load(p_weight + o_i).to(tl.float32)
        new = ()
        for j in tl.static_range(KH * KW):
            entry = entries[(j // KW + i // (2 * RW + 1)) * SPAN + j % KW + i % (2 * RW + 1)]
            new = new + (total[j] + entry * weight,)
        total = new
    return total


@triton.jit
def pixel_gate_forward(
    p_top, p_mean, p_weight, p_gate, pixels, HO, WO, w_sm, w_sh, w_sw, KH: tl.constexpr,
    KW: tl.constexpr, RH: tl.constexpr, RW: tl.constexpr, WIDE: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """``sigmoid(conv)`` (B, T, Ho, Wo) with the weight (2, 2 RH + 1, 2 RW + 1)."""
    T: tl.constexpr = KH * KW
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    m_p = o_p < pixels
    o_s = o_p % (HO * WO)
    o_b = widen(o_p // (HO * WO), WIDE) * (T * HO * WO)
    h, w = o_s // WO, o_s % WO
    total = ()
    for _ in tl.static_range(T):
        total = total + (tl.zeros((BLOCK_P,), tl.float32),)
    entries = load_reach(p_top + o_b, h, w, m_p, HO, WO, KH, KW, RH, RW)
    total = convolve_reach(total, entries, p_weight, w_sh, w_sw, KH, KW, RH, RW)
    entries = load_reach(p_mean + o_b, h, w, m_p, HO, WO, KH, KW, RH, RW)
    total = convolve_reach(total, entries, p_weight + w_sm, w_sh, w_sw, KH, KW, RH, RW)
    for j in tl.static_range(T):
        tl.store(p_gate + o_b + j * (HO * WO) + o_s, tl.sigmoid(total[j]), mask=m_p)


@triton.jit
def load_gradients(
    p_dgate, p_gate, h, w, m_p, HO, WO, KH: tl.constexpr, KW: tl.constexpr, RH: tl.constexpr,
    RW: tl.constexpr,
):  # fmt: skip
    """Gradients of the logits, as ``load_reach`` has entries."""
    d_gates = load_reach(p_dgate, h, w, m_p, HO, WO, KH, KW, RH, RW)
    gates = load_reach(p_gate, h, w, m_p, HO, WO, KH, KW, RH, RW)
    found = ()
    for i in tl.static_range((KH + 2 * RH) * (KW + 2 * RW)):
        found = found + (d_gates[i] * gates[i] * (1.0 - gates[i]),)
    return found


@triton.jit
def pixel_gate_backward(
    p_dgate, p_gate, p_top, p_mean, p_weight, p_dtop, p_dmean, p_sums, pixels, HO, WO, w_sm, w_sh,
    w_sw, sum_m, sum_i, KH: tl.constexpr, KW: tl.constexpr, RH: tl.constexpr, RW: tl.constexpr,
    WIDE: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Gradient of one map (B, T, Ho, Wo), and what the program's windows give to the gradient of
    its weight: (programs, ...) with stride ``sum_m`` between the maps and ``sum_i`` between taps.
    """
    if tl.program_id(1) == 0:
        p_maps, p_dmaps = p_top, p_dtop
    else:
        p_maps, p_dmaps = p_mean, p_dmean
    p_weight += tl.program_id(1) * w_sm
    p_sums += tl.program_id(1) * sum_m
    T: tl.constexpr = KH * KW
    SIZE: tl.constexpr = (2 * RH + 1) * (2 * RW + 1)
    SPAN: tl.constexpr = KW + 2 * RW
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    m_p = o_p < pixels
    o_s = o_p % (HO * WO)
    o_b = widen(o_p // (HO * WO), WIDE) * (T * HO * WO)
    h, w = o_s // WO, o_s % WO
    d_logits = load_gradients(p_dgate + o_b, p_gate + o_b, h, w, m_p, HO, WO, KH, KW, RH, RW)
    entries = load_reach(p_maps + o_b, h, w, m_p, HO, WO, KH, KW, RH, RW)
    d_maps = ()
    for _ in tl.static_range(T):
        d_maps = d_maps + (tl.zeros((BLOCK_P,), tl.float32),)
    for i in tl.static_range(SIZE):
        o_i = (i // (2 * RW + 1)) * w_sh + (i % (2 * RW + 1)) * w_sw
        weight = tl.load(p_weight + o_i).to(tl.float32)
        total = tl.zeros((BLOCK_P,), tl.float32)
        new = ()
        for j in tl.static_range(T):
            entry = entries[(j // KW + i // (2 * RW + 1)) * SPAN + j % KW + i % (2 * RW + 1)]
            total += d_logits[(j // KW + RH) * SPAN + j % KW + RW] * entry
            # what this weight leads from here to there comes back from the other side
            d_logit = d_logits[
                (j // KW + 2 * RH - i // (2 * RW + 1)) * SPAN + j % KW + 2 * RW - i % (2 * RW + 1)
            ]
            new = new + (d_maps[j] + d_logit * weight,)
        d_maps = new
        tl.store(p_sums + tl.program_id(0) * (2 * SIZE) + i * sum_i, tl.sum(total, axis=0))
    for j in tl.static_range(T):
        tl.store(p_dmaps + o_b + j * (HO * WO) + o_s, d_maps[j], mask=m_p)
