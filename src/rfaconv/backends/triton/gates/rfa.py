# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
# ruff: noqa: RUF005  (Triton has neither star expressions nor tiles in a ternary)

"""RFA: ``a = softmax_j(w[c, j] * mean(u))`` (paper, section 3.2). Operand: w, in the table."""

from __future__ import annotations

import triton
import triton.language as tl

from rfaconv.backends.triton.common.tiles import LOG2E, load_weight


@triton.jit
def largest(mean, high, low):
    """The weight of the largest logit: the largest w_j, or the smallest where the mean is negative.

    It is subtracted from the weights, not its logit from the logits: with a fused multiply-add the
    difference of two logits alike would be the rounding error of one, at 2**30 a number of dozens.
    """
    return tl.where(mean < 0, low, high)


@triton.jit
def begin(u, p_row, T: tl.constexpr):
    """Mean of the patch, the same in units of log2, the weight of the largest logit, one over the
    sum.
    """
    total = u[0]
    for i in tl.static_range(1, T):
        total += u[i]
    mean = total * (1.0 / T)
    scaled = mean * LOG2E
    top = largest(scaled, load_weight(p_row, T, T), load_weight(p_row, T + 1, T))
    norm = tl.zeros_like(top)
    for j in tl.static_range(T):
        norm += tl.exp2((load_weight(p_row, j, T) - top) * scaled)
    return (mean, scaled, top, 1.0 / norm)


@triton.jit
def tap(state, p_row, j, T: tl.constexpr):
    """Gate of tap j (P, C)."""
    return tl.exp2((load_weight(p_row, j, T) - state[2]) * state[1]) * state[3]


@triton.jit
def begin_all(u, weights, T: tl.constexpr):
    """Mean of the patch, one over the sum, and the numerators of all taps; ``weights``: w, its
    largest and its smallest entry.
    """
    total = u[0]
    for i in tl.static_range(1, T):
        total += u[i]
    mean = total * (1.0 / T)
    scaled = mean * LOG2E
    top = largest(scaled, weights[T], weights[T + 1])
    norm = tl.zeros_like(top)
    numerators = ()
    for j in tl.static_range(T):
        numerator = tl.exp2((weights[j] - top) * scaled)
        numerators = numerators + (numerator,)
        norm += numerator
    return (mean, 1.0 / norm) + numerators
