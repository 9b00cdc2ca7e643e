# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Squeeze and excitation of one image per program: both layers and both activations. Tiles are
(hidden channels, channels).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def squeezed(p_mean, p_reduce, C, M, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    """Hidden channels (M, 1) of one image, ``relu(W1 mean)``; zero beyond M."""
    o_m = tl.arange(0, BLOCK_M)[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        w = tl.load(p_reduce + o_m * C + o_c, mask=(o_m < M) & (o_c < C), other=0.0)
        total += w.to(tl.float32) * tl.load(p_mean + o_c, mask=o_c < C, other=0.0)
    hidden = tl.sum(total, axis=1, keep_dims=True)
    hidden = tl.maximum(hidden, 0.0, propagate_nan=tl.PropagateNan.ALL)
    # an infinite mean makes NaN of the zeros that stand for missing weights
    return tl.where(o_m < M, hidden, 0.0)


@triton.jit
def squeeze_excite(
    p_mean, p_reduce, p_expand, p_gate, C, M, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr
):
    """``sigmoid(W2 relu(W1 mean))`` (B, C) from W1 (M, C) and W2 (C, M)."""
    o_b = tl.program_id(0).to(tl.int64) * C
    o_m = tl.arange(0, BLOCK_M)[:, None]
    hidden = squeezed(p_mean + o_b, p_reduce, C, M, BLOCK_M, BLOCK_C)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        w = tl.load(p_expand + o_c * M + o_m, mask=(o_m < M) & (o_c < C), other=0.0)
        logit = tl.sum(w.to(tl.float32) * hidden, axis=0, keep_dims=True)
        tl.store(p_gate + o_b + o_c, tl.sigmoid(logit), mask=o_c < C)


@triton.jit
def squeeze_excite_backward(
    p_dgate, p_gate, p_mean, p_reduce, p_expand, p_dmean, p_hidden, p_dhidden, C, M, pixels,
    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Share of every pixel in the means' gradient (B, C); hidden channels and their gradient
    (B, M).
    """
    b = tl.program_id(0).to(tl.int64)
    o_b = b * C
    o_m = tl.arange(0, BLOCK_M)[:, None]
    hidden = squeezed(p_mean + o_b, p_reduce, C, M, BLOCK_M, BLOCK_C)
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        g = tl.load(p_gate + o_b + o_c, mask=o_c < C, other=0.0)
        d_logit = tl.load(p_dgate + o_b + o_c, mask=o_c < C, other=0.0) * g * (1.0 - g)
        w = tl.load(p_expand + o_c * M + o_m, mask=(o_m < M) & (o_c < C), other=0.0)
        total += w.to(tl.float32) * d_logit
    d_hidden = tl.where(hidden > 0.0, tl.sum(total, axis=1, keep_dims=True), 0.0)
    tl.store(p_hidden + b * M + o_m, hidden, mask=o_m < M)
    tl.store(p_dhidden + b * M + o_m, d_hidden, mask=o_m < M)
    for start in range(0, C, BLOCK_C):
        o_c = start + tl.arange(0, BLOCK_C)[None, :]
        w = tl.load(p_reduce + o_m * C + o_c, mask=(o_m < M) & (o_c < C), other=0.0)
        d_mean = tl.sum(w.to(tl.float32) * d_hidden, axis=0, keep_dims=True) / pixels
        tl.store(p_dmean + o_b + o_c, d_mean.to(p_dmean.dtype.element_ty), mask=o_c < C)


@triton.jit
def squeeze_excite_weights(
    p_dgate, p_gate, p_mean, p_hidden, p_dhidden, p_dreduce, p_dexpand, batch, C, M,
    BLOCK_B: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of W1 and W2 for some channels, summed over all images."""
    o_m = tl.arange(0, BLOCK_M)[None, :, None]
    o_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, None, :]
    d_reduce = tl.zeros((BLOCK_B, BLOCK_M, BLOCK_C), tl.float32)
    d_expand = tl.zeros((BLOCK_B, BLOCK_M, BLOCK_C), tl.float32)
    for start in range(0, batch, BLOCK_B):
        o_b = start + tl.arange(0, BLOCK_B)[:, None, None].to(tl.int64)
        m = (o_b < batch) & (o_c < C)
        m_hidden = (o_b < batch) & (o_m < M)
        g = tl.load(p_gate + o_b * C + o_c, mask=m, other=0.0)
        d_logit = tl.load(p_dgate + o_b * C + o_c, mask=m, other=0.0) * g * (1.0 - g)
        mean = tl.load(p_mean + o_b * C + o_c, mask=m, other=0.0)
        d_expand += tl.load(p_hidden + o_b * M + o_m, mask=m_hidden, other=0.0) * d_logit
        d_reduce += tl.load(p_dhidden + o_b * M + o_m, mask=m_hidden, other=0.0) * mean
    o_m = tl.arange(0, BLOCK_M)[:, None]
    o_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    m = (o_m < M) & (o_c < C)
    d_expand = tl.sum(d_expand, axis=0).to(p_dexpand.dtype.element_ty)
    tl.store(p_dexpand + o_c * M + o_m, d_expand, mask=m)
    d_reduce = tl.sum(d_reduce, axis=0).to(p_dreduce.dtype.element_ty)
    tl.store(p_dreduce + o_m * C + o_c, d_reduce, mask=m)
