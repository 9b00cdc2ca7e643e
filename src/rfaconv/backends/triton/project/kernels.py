# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: E741  (Triton has neither star expressions nor tiles in a ternary)
"""Forward kernels of the projection: fused with the product, or the panel alone for a library
product.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tensor_core_kernels import product
from rfaconv.backends.triton.common.tiles import channel_range, feature, load_patch, table_of, widen
from rfaconv.backends.triton.gates import gate_begin, gate_tap


@triton.jit
def project_forward(
    p_x, p_t, p_0, p_1, p_k, p_bias, p_y, pixels, O,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw, y_sb, y_so, y_sh, y_sw, k_so, k_sj, k_sc,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr, VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """``y = K (f * a) + bias`` for BLOCK_P pixels, which may span images, and BLOCK_O outputs.

    The panel exists one tap and one block of channels at a time; K is split the same way, so
    nothing is joined.
    """
    o_p = widen(tl.program_id(0), WIDE) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]  # (P, 1)
    m_p = o_p < pixels
    o_b = o_p // (HO * WO)
    o_h = ((o_p // WO) % HO).to(tl.int32)
    o_w = (o_p % WO).to(tl.int32)
    o_o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)[None, :]  # (1, O)
    m_o = o_o < O
    acc = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for start in range(0, C, BLOCK_C):
        o_c = channel_range(start, BLOCK_C, VECTOR)  # (1, C)
        m_c = o_c < C
        p_row = table_of(p_t, o_c, KH * KW)
        o_k = (start + tl.arange(0, BLOCK_C))[:, None]  # (C, 1)
        p_weight = p_k + o_k * k_sc + o_o * k_so  # (C, O)
        m_k = (o_k < C) & m_o
        o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
        u = load_patch(
            p_x,
            o_image,
            o_h * SH - PT,
            o_w * SW - PL,
            m_p,
            m_c,
            H,
            W,
            x_sh,
            x_sw,
            KH,
            KW,
            DH,
            DW,
            WIDE,
        )
        state = gate_begin(VARIANT, u, p_row, p_0, o_b, o_c, m_p, m_c, C, KH * KW)
        # a loop, not unrolled: nine taps at once would not fit into the registers
        for j in range(KH * KW):
            f = feature(u, p_row, j, KH * KW)
            a = gate_tap(
                VARIANT, state, p_row, p_0, p_1, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW
            )
            k = tl.load(p_weight + j * k_sj, mask=m_k, other=0.0)
            acc = product((f * a).to(k.dtype), k, acc, PRECISION, UPCAST)
    if HAS_BIAS:
        acc += tl.load(p_bias + o_o, mask=m_o, other=0.0).to(tl.float32)
    o_y = o_b * y_sb + widen(o_h, WIDE) * y_sh + widen(o_w, WIDE) * y_sw + widen(o_o, WIDE) * y_so
    tl.store(p_y + o_y, acc.to(p_y.dtype.element_ty), mask=m_p & m_o)


@triton.jit
def panel_forward(
    p_x, p_t, p_0, p_1, p_panel, pixels,
    C, H, W, HO, WO, x_sb, x_sc, x_sh, x_sw,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PT: tl.constexpr,
    PL: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr, VARIANT: tl.constexpr,
    VECTOR: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The panel of some images, (pixels, T, C), for a library product."""
    o_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    m_p = o_p < pixels
    o_b = widen(o_p // (HO * WO), WIDE)
    o_h = (o_p // WO) % HO
    o_w = o_p % WO
    o_c = channel_range(tl.program_id(1) * BLOCK_C, BLOCK_C, VECTOR)
    m_c = o_c < C
    p_row = table_of(p_t, o_c, KH * KW)
    o_image = o_b * x_sb + widen(o_c, WIDE) * x_sc
    u = load_patch(
        p_x, o_image, o_h * SH - PT, o_w * SW - PL, m_p, m_c, H, W, x_sh, x_sw, KH, KW, DH, DW, WIDE
    )
    state = gate_begin(VARIANT, u, p_row, p_0, o_b, o_c, m_p, m_c, C, KH * KW)
    p_out = p_panel + widen(o_p, WIDE) * (KH * KW * C) + o_c
    for j in range(KH * KW):
        f = feature(u, p_row, j, KH * KW)
        a = gate_tap(
            VARIANT, state, p_row, p_0, p_1, j, o_b, o_h, o_w, o_c, m_p, m_c, C, HO, WO, KH, KW
        )
        tl.store(p_out + j * C, (f * a).to(p_panel.dtype.element_ty), mask=m_p & m_c)
