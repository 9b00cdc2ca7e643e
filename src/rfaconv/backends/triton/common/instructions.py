# mypy: ignore-errors
# (device code: the kernel language has no types that a checker knows)
"""Machine instructions that Triton has no name for, each with the plain formula that it replaces.

PLAIN is for the interpreter, which has no machine code.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def round_positive(value, dtype: tl.constexpr, PLAIN: tl.constexpr):
    """``max(value, 0)`` of float32 in 16 bits: the conversion takes the maximum. NaN stays NaN."""
    if PLAIN:
        result = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL).to(dtype)
    elif dtype == tl.bfloat16:
        result = tl.inline_asm_elementwise(
            "cvt.rn.relu.bf16x2.f32 $0, $2, $1;", "=r,f,f", [value], tl.bfloat16, True, 2
        )
    else:
        result = tl.inline_asm_elementwise(
            "cvt.rn.relu.f16x2.f32 $0, $2, $1;", "=r,f,f", [value], tl.float16, True, 2
        )
    return result


@triton.jit
def reciprocal(value, PLAIN: tl.constexpr):
    """``1 / value`` of an ordinary number to the last bit but one; a division also scales very
    large and very small ones.
    """
    if PLAIN:
        result = 1.0 / value
    else:
        result = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [value], tl.float32, True, 1
        )
    return result
