# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)
"""What the linked backward pass of rfcbam's projection computes for every channel and pixel."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import channel_range, feature, load_patch, table_of, widen
from rfaconv.backends.triton.stats.kernels import over


@triton.jit
def link_channels(
    p_x, p_t, p_channel, p_pixel, p_da, p_panel, p_out, pixels,
    C: tl.constexpr, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, EACH: tl.constexpr,
    VECTOR: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradient of the pixel gate, ``sum_c dA f channel`` (B, T, Ho, Wo), and the panel ``f channel
    pixel`` (pixels, T, C), which dA is like.

    EACH as in ``reduce_channels``. C is a constant, so that no address of a tap has to be kept.
    """
    T: tl.constexpr = KH * KW
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    o_s = o_p % (HO * WO)
    o_h = o_s // WO
    o_w = o_s % WO
    p_first = p_pixel + o_b * (T * HO * WO) + o_s
    o_row = widen(o_p, WIDE) * (T * C)
    total = ()
    for _ in tl.static_range(T):
        total = total + (tl.zeros((BLOCK_P, 1 if EACH else BLOCK_C), tl.float32),)
    for start in range(0, C, BLOCK_C):
        o_c = channel_range(start, BLOCK_C, VECTOR)
        m_c = o_c < C
        m = m_p & m_c
        p_row = table_of(p_t, o_c, T)
        o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
        u = load_patch(
            p_x, o_image, o_h * SH - PT, o_w * SW - PL, m_p, m_c, H, W, x_sh, x_sw, KH, KW, DH, DW,
            WIDE,
        )  # fmt: skip
        channel = tl.load(p_channel + o_b * C + o_c, mask=m, other=0.0)
        new = ()
        for j in tl.static_range(T):
            f = feature(u, p_row, j, T)
            pixel = tl.load(p_first + j * (HO * WO), mask=m_p, other=0.0)
            o_tap = o_row + o_c + j * C
            d_panel = tl.load(p_da + o_tap, mask=m, other=0.0).to(tl.float32)
            part = f * channel
            tl.store(p_panel + o_tap, (part * pixel).to(p_panel.dtype.element_ty), mask=m)
            new = new + (total[j] + over(d_panel * part, EACH, False),)
        total = new
    o_v = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_out = widen(o_v // (HO * WO), WIDE) * (T * HO * WO) + o_v % (HO * WO)
    for j in tl.static_range(T):
        tl.store(p_out + o_out + j * (HO * WO), tl.sum(total[j], axis=1), mask=o_v < pixels)
