# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""BatchNorm of the features from the moments, folded into G; its gradient, for which a program does
one channel, and its running statistics; all in float64.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def batch_statistics(p_g, p_m, p_cov, c, T: tl.constexpr, TAPS: tl.constexpr):
    """G, ``G S``, ``G S^T`` (T, T) and mean and variance (T, 1) of every feature of one channel."""
    j, i = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    m = (j < T) & (i < T)
    p_own, p_s = p_g + c * (T * T), p_cov + c * (T * T)
    g = tl.load(p_own + j * T + i, mask=m, other=0.0).to(tl.float64)
    right = tl.zeros((TAPS, TAPS), tl.float64)
    left = tl.zeros((TAPS, TAPS), tl.float64)
    for k in range(T):
        column = tl.load(p_own + j * T + k, mask=j < T, other=0.0).to(tl.float64)
        right += column * tl.load(p_s + k * T + i, mask=i < T, other=0.0)
        left += column * tl.load(p_s + i * T + k, mask=i < T, other=0.0)
    moment = tl.load(p_m + c * T + i, mask=i < T, other=0.0)
    mean = tl.sum(g * moment, axis=1, keep_dims=True)
    var = tl.sum(right * g, axis=1, keep_dims=True)
    return g, right + left, mean, var


@triton.jit
def fold_forward(
    p_g, p_m, p_cov, p_gamma, p_beta, p_folded, p_bias, p_mean, p_var, EPS: tl.constexpr,
    T: tl.constexpr, TAPS: tl.constexpr, HAS_GAMMA: tl.constexpr, HAS_BETA: tl.constexpr,
):  # fmt: skip
    """G' and b', and the statistics of the features."""
    c = tl.program_id(0).to(tl.int64)
    j, i = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    g, _, mean, var = batch_statistics(p_g, p_m, p_cov, c, T, TAPS)
    # rounding can leave a tiny negative variance; NaN stays NaN
    var = tl.where(var < 0.0, 0.0, var)
    scale = 1.0 / tl.sqrt(var + EPS)
    o, m = c * T + j, j < T
    if HAS_GAMMA:
        scale *= tl.load(p_gamma + o, mask=m, other=0.0).to(tl.float64)
    bias = -scale * mean
    if HAS_BETA:
        bias += tl.load(p_beta + o, mask=m, other=0.0).to(tl.float64)
    tl.store(p_folded + o * T + i, (g * scale).to(tl.float32), mask=m & (i < T))
    tl.store(p_bias + o, bias.to(tl.float32), mask=m)
    tl.store(p_mean + o, mean, mask=m)
    tl.store(p_var + o, var, mask=m)


@triton.jit
def fold_with_running(
    p_g, p_mean, p_var, p_gamma, p_beta, p_folded, p_bias, EPS: tl.constexpr, T: tl.constexpr,
    TAPS: tl.constexpr, HAS_GAMMA: tl.constexpr, HAS_BETA: tl.constexpr,
):  # fmt: skip
    """G' and b' from the running statistics of the features."""
    c = tl.program_id(0).to(tl.int64)
    j, i = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    o, m = c * T + j, j < T
    g = tl.load(p_g + o * T + i, mask=m & (i < T), other=0.0).to(tl.float64)
    var = tl.load(p_var + o, mask=m, other=1.0).to(tl.float64)
    scale = 1.0 / tl.sqrt(var + EPS)
    if HAS_GAMMA:
        scale *= tl.load(p_gamma + o, mask=m, other=0.0).to(tl.float64)
    bias = -scale * tl.load(p_mean + o, mask=m, other=0.0).to(tl.float64)
    if HAS_BETA:
        bias += tl.load(p_beta + o, mask=m, other=0.0).to(tl.float64)
    dtype = p_folded.dtype.element_ty
    tl.store(p_folded + o * T + i, (g * scale).to(tl.float32).to(dtype), mask=m & (i < T))
    tl.store(p_bias + o, bias.to(tl.float32).to(dtype), mask=m)


@triton.jit
def fold_backward(
    p_df, p_db, p_g, p_m, p_cov, p_gamma, p_dg, p_dm, p_dcov, p_dgamma, p_dbeta, EPS: tl.constexpr,
    T: tl.constexpr, TAPS: tl.constexpr, HAS_GAMMA: tl.constexpr, HAS_BETA: tl.constexpr,
):  # fmt: skip
    """Gradients of G, both moments, gamma and beta from those of G' and b'."""
    c = tl.program_id(0).to(tl.int64)
    j, i = tl.arange(0, TAPS)[:, None], tl.arange(0, TAPS)[None, :]
    g, symmetric, mean, var = batch_statistics(p_g, p_m, p_cov, c, T, TAPS)
    o, m = c * T + j, j < T
    m_matrix = m & (i < T)
    d_folded = tl.load(p_df + o * T + i, mask=m_matrix, other=0.0).to(tl.float64)
    d_bias = tl.load(p_db + o, mask=m, other=0.0).to(tl.float64)
    root = 1.0 / tl.sqrt(tl.where(var < 0.0, 0.0, var) + EPS)
    scale = root
    d_scale = tl.sum(d_folded * g, axis=1, keep_dims=True) - d_bias * mean
    d_root = d_scale
    if HAS_GAMMA:
        gamma = tl.load(p_gamma + o, mask=m, other=0.0).to(tl.float64)
        scale = root * gamma
        d_root = d_scale * gamma
        tl.store(p_dgamma + o, (d_scale * root).to(p_dgamma.dtype.element_ty), mask=m)
    if HAS_BETA:
        tl.store(p_dbeta + o, d_bias.to(p_dbeta.dtype.element_ty), mask=m)
    d_var = tl.where(var > 0.0, -0.5 * root * root * root * d_root, 0.0)
    d_mean = -scale * d_bias
    moment = tl.load(p_m + c * T + i, mask=i < T, other=0.0)
    dg = scale * d_folded + d_mean * moment + d_var * symmetric
    tl.store(p_dg + o * T + i, dg.to(p_dg.dtype.element_ty), mask=m_matrix)
    tl.store(p_dm + c * T + i, tl.sum(d_mean * g, axis=0, keep_dims=True), mask=i < T)
    dcov = tl.zeros((TAPS, TAPS), tl.float64)
    for k in range(T):
        p_own = p_g + (c * T + k) * T
        left = tl.load(p_own + j, mask=m, other=0.0).to(tl.float64)
        right = tl.load(p_own + i, mask=i < T, other=0.0).to(tl.float64)
        weight = tl.sum(tl.where(j == k, d_var, 0.0), axis=0, keep_dims=True)
        dcov += weight * (left * right)
    tl.store(p_dcov + o * T + i, dcov, mask=m_matrix)


@triton.jit
def track_statistics(
    p_mean, p_var, p_rmean, p_rvar, p_seen, rmean_s, rvar_s, count, high, low, size,
    AVERAGE: tl.constexpr, COUNTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Moves the running statistics towards those of a batch of ``count`` windows, by the momentum
    ``high + low``, or by one over the number of batches (AVERAGE). COUNTED: that number grows here.
    """
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = o < size
    windows = tl.zeros((BLOCK,), tl.float64) + count  # which is a constant where it is 1
    if AVERAGE:
        momentum = 1.0 / (tl.zeros((BLOCK,), tl.float64) + tl.load(p_seen))
    else:
        momentum = tl.zeros((BLOCK,), tl.float64) + high
        momentum += low
    # a single window has no unbiased variance: its biased one, zero, is kept
    unbiased = windows / tl.maximum(windows - 1.0, 1.0)
    mean = tl.load(p_mean + o, mask=m, other=0.0)
    var = tl.load(p_var + o, mask=m, other=0.0) * unbiased
    before = tl.load(p_rmean + o * rmean_s, mask=m, other=0.0).to(tl.float64)
    value = before + momentum * (mean - before)
    tl.store(p_rmean + o * rmean_s, value.to(p_rmean.dtype.element_ty), mask=m)
    before = tl.load(p_rvar + o * rvar_s, mask=m, other=0.0).to(tl.float64)
    value = before + momentum * (var - before)
    tl.store(p_rvar + o * rvar_s, value.to(p_rvar.dtype.element_ty), mask=m)
    if COUNTED:
        tl.store(p_seen, tl.load(p_seen) + 1, mask=tl.program_id(0) == 0)
