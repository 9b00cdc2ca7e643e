# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)

"""The gates of rfca: both pointwise layers of coordinate attention along rows and columns.

Lines lie as (B, L, C), hidden channels as (B, M, L) with the rows first and the columns behind
them. Tiles are (lines, hidden channels, channels); a program has lines of one direction.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reduced(
    p_line, p_weight, o_l, L, C, M, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``W1 pooled`` (BLOCK_L, BLOCK_M) of some lines of an image."""
    o_m = tl.arange(0, BLOCK_M)[None, :]
    total = tl.zeros((BLOCK_L, BLOCK_M), tl.float32)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)
        x = tl.load(p_line + o_l * C + o_c[None, :], mask=(o_l < L) & (o_c < C)[None, :], other=0.0)
        o_w = o_m * C + o_c[:, None]
        w = tl.load(p_weight + o_w, mask=(o_m < M) & (o_c < C)[:, None], other=0.0)
        total = tl.dot(x.to(tl.float32), w.to(tl.float32), total, input_precision="ieee")
    return total


@triton.jit
def hardswish(z):
    """``z relu6(z + 3) / 6``; NaN stays NaN."""
    inner = tl.maximum(z + 3.0, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return z * tl.minimum(inner, 6.0, propagate_nan=tl.PropagateNan.ALL) * (1.0 / 6.0)


@triton.jit
def expand(
    active, p_weight, p_bias, p_gate, o_l, L, C, M, HAS_BIAS: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Stores ``sigmoid(W2 active + b2)`` of some lines of an image; ``active`` is zero beyond M."""
    o_m = tl.arange(0, BLOCK_M)[:, None]
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        w = tl.load(p_weight + o_c * M + o_m, mask=(o_m < M) & (o_c < C), other=0.0)
        logit = tl.dot(active, w.to(tl.float32), input_precision="ieee")
        if HAS_BIAS:
            logit += tl.load(p_bias + o_c, mask=o_c < C, other=0.0).to(tl.float32)
        tl.store(p_gate + o_l * C + o_c, tl.sigmoid(logit), mask=(o_l < L) & (o_c < C))


@triton.jit
def fused_gate(
    p_line, p_reduce, p_offset, p_mean, p_var, p_gamma, p_beta, p_weight, p_bias, p_gate, b, block,
    L, C, M, EPS: tl.constexpr, HAS_OFFSET: tl.constexpr, AFFINE: tl.constexpr,
    HAS_BIAS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Both layers of some lines, BatchNorm between them with its running statistics."""
    o_l = block * BLOCK_L + tl.arange(0, BLOCK_L)[:, None]
    o_image = b * L * C
    z = reduced(p_line + o_image, p_reduce, o_l, L, C, M, BLOCK_L, BLOCK_M, BLOCK_C)
    o_m = tl.arange(0, BLOCK_M)[None, :]
    m = o_m < M
    if HAS_OFFSET:
        z += tl.load(p_offset + o_m, mask=m, other=0.0).to(tl.float32)
    var = tl.load(p_var + o_m, mask=m, other=1.0).to(tl.float32)
    z = (z - tl.load(p_mean + o_m, mask=m, other=0.0).to(tl.float32)) / tl.sqrt(var + EPS)
    if AFFINE:
        z *= tl.load(p_gamma + o_m, mask=m, other=0.0).to(tl.float32)
        z += tl.load(p_beta + o_m, mask=m, other=0.0).to(tl.float32)
    # an infinite mean makes NaN of the zeros that stand for missing weights
    active = tl.where(m, hardswish(z), 0.0)
    expand(
        active, p_weight, p_bias, p_gate + o_image, o_l, L, C, M, HAS_BIAS, BLOCK_M, BLOCK_C
    )  # fmt: skip


@triton.jit
def coordinate_forward(
    p_rows, p_cols, p_reduce, p_offset, p_mean, p_var, p_gamma, p_beta, p_weight_rows,
    p_weight_cols, p_bias_rows, p_bias_cols, p_gate_rows, p_gate_cols, row_blocks, ROWS, COLS, C, M,
    EPS: tl.constexpr, HAS_OFFSET: tl.constexpr, AFFINE: tl.constexpr, ROWS_BIAS: tl.constexpr,
    COLS_BIAS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gates of rows (B, ROWS, C) and columns (B, COLS, C) from the means in the same places."""
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if block < row_blocks:
        fused_gate(
            p_rows, p_reduce, p_offset, p_mean, p_var, p_gamma, p_beta, p_weight_rows, p_bias_rows,
            p_gate_rows, b, block, ROWS, C, M, EPS, HAS_OFFSET, AFFINE, ROWS_BIAS, BLOCK_L, BLOCK_M,
            BLOCK_C,
        )  # fmt: skip
    else:
        fused_gate(
            p_cols, p_reduce, p_offset, p_mean, p_var, p_gamma, p_beta, p_weight_cols, p_bias_cols,
            p_gate_cols, b, block - row_blocks, COLS, C, M, EPS, HAS_OFFSET, AFFINE, COLS_BIAS,
            BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip
