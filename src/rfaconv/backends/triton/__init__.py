"""Fused kernels in Triton for CUDA devices. May import L0 to L2, and Triton.

Triton itself is imported by the first call on a CUDA tensor, not by the import of this package.
"""

from __future__ import annotations

from typing import ClassVar

from rfaconv.backends.base import Backend, Kernel, Status
from rfaconv.backends.triton import registration, support
from rfaconv.geometry import Problem
from rfaconv.variants import GATES

__all__ = ["BACKEND", "TritonBackend"]

_DTYPES = ("float32", "bfloat16", "float16")
_KERNELS = ((1, 1), (3, 3), (5, 5))
_HIDDEN = 64


class TritonBackend(Backend):
    """Fused kernels for float32, float16 and bfloat16, kernels 1x1, 3x3, 5x5, one group."""

    name: ClassVar[str] = "triton"
    device: ClassVar[str] = "cuda"
    channels_adjacent: ClassVar[bool] = True
    kernels: ClassVar[dict[str, Kernel]] = registration.kernels()

    def unsupported(self, problem: Problem) -> str | None:
        """Says why the Triton kernels cannot run the problem, or None if they can."""
        if problem.dims != 2:
            return f"spatial dimensions: expected 2, got {problem.dims}"
        if problem.dtype not in _DTYPES:
            return f"dtype: expected {' or '.join(_DTYPES)}, got {problem.dtype}"
        if problem.window.kernel not in _KERNELS:
            return (
                f"kernel_size: expected 1, 3 or 5 in both directions, got {problem.window.kernel}"
            )
        if problem.groups != 1:
            return f"groups: expected 1, got {problem.groups}"
        if problem.op.startswith("line_") and problem.in_channels > _HIDDEN:
            return (
                f"hidden channels of a gate: expected at most {_HIDDEN}, got {problem.in_channels}"
            )
        if problem.variant and problem.variant not in GATES:
            return f"variant: expected one of {', '.join(GATES)}, got {problem.variant!r}"
        return support.refusal()

    def hesitation(self, problem: Problem) -> str | None:
        """None: where the kernels run, ``auto`` takes them."""
        return None

    def status(self) -> Status:
        """Versions of Triton and CUDA and the device, or why the kernels cannot run."""
        return Status(self.name, support.refusal(), support.details())


BACKEND = TritonBackend()
