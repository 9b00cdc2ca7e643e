# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""The two layers of rfca's gates apart, for training, and their gradients; the layouts are those of
``coordinate_kernels``. The gates are computed again from the hidden channels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.gates.coordinate_kernels import expand, hardswish, reduced


@triton.jit
def load_hidden(p_hidden, o_l, L, TOTAL, M, BLOCK_M: tl.constexpr):
    """Hidden channels (lines, BLOCK_M) of some lines of an image; zero beyond."""
    o_m = tl.arange(0, BLOCK_M)[None, :]
    return tl.load(p_hidden + o_m * TOTAL + o_l, mask=(o_l < L) & (o_m < M), other=0.0)


@triton.jit
def reduce_lines(
    p_line, p_weight, p_bias, p_hidden, block, L, TOTAL, C, M, HAS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``W1 pooled + b1`` of some lines of one direction."""
    o_l = block * BLOCK_L + tl.arange(0, BLOCK_L)[:, None]
    o_m = tl.arange(0, BLOCK_M)[None, :]
    z = reduced(p_line, p_weight, o_l, L, C, M, BLOCK_L, BLOCK_M, BLOCK_C)
    if HAS_BIAS:
        z += tl.load(p_bias + o_m, mask=o_m < M, other=0.0).to(tl.float32)
    tl.store(p_hidden + o_m * TOTAL + o_l, z, mask=(o_l < L) & (o_m < M))


@triton.jit
def hidden_forward(
    p_rows, p_cols, p_weight, p_bias, p_hidden, row_blocks, ROWS, COLS, C, M,
    HAS_BIAS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Hidden channels (B, M, ROWS + COLS) from means (B, ROWS, C) and (B, COLS, C)."""
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = ROWS + COLS
    p_own = p_hidden + b * M * total
    if block < row_blocks:
        reduce_lines(
            p_rows + b * ROWS * C, p_weight, p_bias, p_own, block, ROWS, total, C, M, HAS_BIAS,
            BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip
    else:
        reduce_lines(
            p_cols + b * COLS * C, p_weight, p_bias, p_own + ROWS, block - row_blocks, COLS, total,
            C, M, HAS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip


@triton.jit
def expand_lines(
    p_hidden, p_weight, p_bias, p_gate, block, L, TOTAL, C, M, HAS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gates of some lines of one direction."""
    o_l = block * BLOCK_L + tl.arange(0, BLOCK_L)[:, None]
    active = hardswish(load_hidden(p_hidden, o_l, L, TOTAL, M, BLOCK_M))
    expand(active, p_weight, p_bias, p_gate, o_l, L, C, M, HAS_BIAS, BLOCK_M, BLOCK_C)


@triton.jit
def gates_forward(
    p_hidden, p_weight_rows, p_weight_cols, p_bias_rows, p_bias_cols, p_gate_rows, p_gate_cols,
    row_blocks, ROWS, COLS, C, M, ROWS_BIAS: tl.constexpr, COLS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gates (B, ROWS, C) and (B, COLS, C) from normalised hidden channels."""
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = ROWS + COLS
    p_own = p_hidden + b * M * total
    if block < row_blocks:
        expand_lines(
            p_own, p_weight_rows, p_bias_rows, p_gate_rows + b * ROWS * C, block, ROWS, total, C,
            M, ROWS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip
    else:
        expand_lines(
            p_own + ROWS, p_weight_cols, p_bias_cols, p_gate_cols + b * COLS * C,
            block - row_blocks, COLS, total, C, M, COLS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip


@triton.jit
def logit_gradient(active, w, p_bias, p_dgate, o_l, o_c, L, C, HAS_BIAS: tl.constexpr):
    """Gradient of the logits (lines, channels), their gates computed again."""
    logit = tl.dot(active, w, input_precision="ieee")
    if HAS_BIAS:
        logit += tl.load(p_bias + o_c, mask=o_c < C, other=0.0).to(tl.float32)
    g = tl.sigmoid(logit)
    d_gate = tl.load(p_dgate + o_l * C + o_c, mask=(o_l < L) & (o_c < C), other=0.0)
    return d_gate * g * (1.0 - g)


@triton.jit
def expand_weight(p_weight, o_c, C, M, BLOCK_M: tl.constexpr):
    """W2 of some channels, (BLOCK_M, channels)."""
    o_m = tl.arange(0, BLOCK_M)[:, None]
    w = tl.load(p_weight + o_c * M + o_m, mask=(o_m < M) & (o_c < C), other=0.0)
    return w.to(tl.float32)


@triton.jit
def hidden_gradient(
    p_hidden, p_weight, p_bias, p_dgate, p_dhidden, block, L, TOTAL, C, M, HAS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradient of the hidden channels of some lines of one direction."""
    o_l = block * BLOCK_L + tl.arange(0, BLOCK_L)[:, None]
    z = load_hidden(p_hidden, o_l, L, TOTAL, M, BLOCK_M)
    active = hardswish(z)
    d_active = tl.zeros((BLOCK_L, BLOCK_M), tl.float32)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        w = expand_weight(p_weight, o_c, C, M, BLOCK_M)
        d_logit = logit_gradient(active, w, p_bias, p_dgate, o_l, o_c, L, C, HAS_BIAS)
        d_active = tl.dot(d_logit, tl.trans(w), d_active, input_precision="ieee")
    slope = tl.where(z < -3.0, 0.0, tl.where(z <= 3.0, z * (1.0 / 3.0) + 0.5, 1.0))
    o_m = tl.arange(0, BLOCK_M)[None, :]
    tl.store(p_dhidden + o_m * TOTAL + o_l, d_active * slope, mask=(o_l < L) & (o_m < M))


@triton.jit
def gates_backward(
    p_hidden, p_weight_rows, p_weight_cols, p_bias_rows, p_bias_cols, p_drows, p_dcols, p_dhidden,
    row_blocks, ROWS, COLS, C, M, ROWS_BIAS: tl.constexpr, COLS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradient of the normalised hidden channels (B, M, ROWS + COLS)."""
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = ROWS + COLS
    o_own = b * M * total
    if block < row_blocks:
        hidden_gradient(
            p_hidden + o_own, p_weight_rows, p_bias_rows, p_drows + b * ROWS * C, p_dhidden + o_own,
            block, ROWS, total, C, M, ROWS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip
    else:
        hidden_gradient(
            p_hidden + o_own + ROWS, p_weight_cols, p_bias_cols, p_dcols + b * COLS * C,
            p_dhidden + o_own + ROWS, block - row_blocks, COLS, total, C, M, COLS_BIAS, BLOCK_L,
            BLOCK_M, BLOCK_C,
        )  # fmt: skip


@triton.jit
def weight_gradient(
    p_hidden, p_weight, p_bias, p_dgate, p_dweight, p_dbias, batch, L, TOTAL, C, M,
    HAS_BIAS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of one direction, of every ``num_programs(1)``-th image, for some channels."""
    o_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    w = expand_weight(p_weight, o_c, C, M, BLOCK_M)
    d_weight = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    d_bias = tl.zeros((1, BLOCK_C), tl.float32)
    for b in range(tl.program_id(1), batch, tl.num_programs(1)):
        image = tl.program_id(1).to(tl.int64) + (b - tl.program_id(1))
        for start in range(0, L, BLOCK_L):
            o_l = start + tl.arange(0, BLOCK_L)[:, None]
            z = load_hidden(p_hidden + image * M * TOTAL, o_l, L, TOTAL, M, BLOCK_M)
            active = hardswish(z)
            p_own = p_dgate + image * L * C
            d_logit = logit_gradient(active, w, p_bias, p_own, o_l, o_c, L, C, HAS_BIAS)
            d_weight = tl.dot(tl.trans(active), d_logit, d_weight, input_precision="ieee")
            d_bias += tl.sum(d_logit, axis=0, keep_dims=True)
    o_m = tl.arange(0, BLOCK_M)[:, None]
    o_own = tl.program_id(1) * C + o_c
    tl.store(p_dweight + o_own * M + o_m, d_weight, mask=(o_m < M) & (o_c < C))
    tl.store(p_dbias + o_own, d_bias, mask=o_c < C)


@triton.jit
def gates_weights(
    p_hidden, p_weight_rows, p_weight_cols, p_bias_rows, p_bias_cols, p_drows, p_dcols, p_dweight,
    p_dbias, batch, ROWS, COLS, C, M, ROWS_BIAS: tl.constexpr, COLS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Shares of the gradients of W2 (2, programs, C, M) and b2 (2, programs, C)."""
    total = ROWS + COLS
    if tl.program_id(2) == 0:
        weight_gradient(
            p_hidden, p_weight_rows, p_bias_rows, p_drows, p_dweight, p_dbias, batch, ROWS, total,
            C, M, ROWS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip
    else:
        o_axis = tl.num_programs(1) * C
        weight_gradient(
            p_hidden + ROWS, p_weight_cols, p_bias_cols, p_dcols, p_dweight + o_axis * M,
            p_dbias + o_axis, batch, COLS, total, C, M, COLS_BIAS, BLOCK_L, BLOCK_M, BLOCK_C,
        )  # fmt: skip


@triton.jit
def lines_gradient(
    d_weight, d_bias, p_line, p_dline, p_dhidden, w, o_c, L, TOTAL, C, M, BLOCK_L: tl.constexpr,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Stores the gradient of the means of one direction of an image; the sums for W1 and b1."""
    for start in range(0, L, BLOCK_L):
        o_l = start + tl.arange(0, BLOCK_L)[:, None]
        d_z = load_hidden(p_dhidden, o_l, L, TOTAL, M, BLOCK_M)
        m = (o_l < L) & (o_c < C)
        x = tl.load(p_line + o_l * C + o_c, mask=m, other=0.0).to(tl.float32)
        tl.store(p_dline + o_l * C + o_c, tl.dot(d_z, w, input_precision="ieee"), mask=m)
        d_weight = tl.dot(tl.trans(d_z), x, d_weight, input_precision="ieee")
        d_bias += tl.sum(d_z, axis=0)
    return d_weight, d_bias


@triton.jit
def hidden_backward(
    p_rows, p_cols, p_weight, p_dhidden, p_drows, p_dcols, p_dweight, p_dbias, batch, ROWS, COLS, C,
    M, BLOCK_L: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of both means, and shares of those of W1 (programs, M, C) and b1 (programs, M)."""
    o_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    o_m = tl.arange(0, BLOCK_M)[:, None]
    m = (o_m < M) & (o_c < C)
    w = tl.load(p_weight + o_m * C + o_c, mask=m, other=0.0).to(tl.float32)
    d_weight = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    d_bias = tl.zeros((BLOCK_M,), tl.float32)
    total = ROWS + COLS
    for b in range(tl.program_id(1), batch, tl.num_programs(1)):
        image = tl.program_id(1).to(tl.int64) + (b - tl.program_id(1))
        p_own = p_dhidden + image * M * total
        d_weight, d_bias = lines_gradient(
            d_weight, d_bias, p_rows + image * ROWS * C, p_drows + image * ROWS * C, p_own, w, o_c,
            ROWS, total, C, M, BLOCK_L, BLOCK_M,
        )  # fmt: skip
        d_weight, d_bias = lines_gradient(
            d_weight, d_bias, p_cols + image * COLS * C, p_dcols + image * COLS * C, p_own + ROWS,
            w, o_c, COLS, total, C, M, BLOCK_L, BLOCK_M,
        )  # fmt: skip
    tl.store(p_dweight + (tl.program_id(1) * M + o_m) * C + o_c, d_weight, mask=m)
    o_m = tl.arange(0, BLOCK_M)
    tl.store(p_dbias + tl.program_id(1) * M + o_m, d_bias, mask=(o_m < M) & (tl.program_id(0) == 0))


@triton.jit
def join_parts(
    p_parts, p_others, p_sum, p_other, parts, size, others, BLOCK_P: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over the second dimension of (A, parts, size) and of (A, parts, others)."""
    axis = tl.program_id(1).to(tl.int64)
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    o_other = o - size
    m, m_other = o < size, (o_other >= 0) & (o_other < others)
    total = tl.zeros((BLOCK_P, BLOCK), tl.float32)
    for start in range(0, parts, BLOCK_P):
        o_k = start + tl.arange(0, BLOCK_P)[:, None]
        o_part = axis * parts + o_k
        total += tl.load(p_parts + o_part * size + o, mask=(o_k < parts) & m, other=0.0)
        p_from = p_others + o_part * others + o_other
        total += tl.load(p_from, mask=(o_k < parts) & m_other, other=0.0)
    value = tl.sum(total, axis=0, keep_dims=True)
    tl.store(p_sum + axis * size + o, value.to(p_sum.dtype.element_ty), mask=m)
    value = value.to(p_other.dtype.element_ty)
    tl.store(p_other + axis * others + o_other, value, mask=m_other)
