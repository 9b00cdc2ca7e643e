"""Fused kernels in Triton for CUDA devices. May import L0 to L2, and Triton.

Triton itself is imported by the first call on a CUDA tensor, not by the import of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from rfaconv.backends import proof
from rfaconv.backends.base import Backend, Kernel, Status
from rfaconv.backends.triton import registration, support
from rfaconv.geometry import Problem
from rfaconv.variants import GATES

__all__ = ["BACKEND", "TritonBackend"]

_DTYPES = ("float32", "bfloat16", "float16")
_KERNELS = ((1, 1), (3, 3))
_HIDDEN = 64


class TritonBackend(Backend):
    """Fused kernels for float32, float16 and bfloat16, kernels 1x1 and 3x3, one group.

    A kind of problem is run once against the reference before it is used; see
    :mod:`rfaconv.backends.proof`.
    """

    name: ClassVar[str] = "triton"
    device: ClassVar[str] = "cuda"
    channels_adjacent: ClassVar[bool] = True
    kernels: ClassVar[Mapping[str, Kernel]] = registration.kernels()

    def unsupported(self, problem: Problem) -> str | None:
        """Says why the Triton kernels cannot run the problem, or None if they can."""
        reason = self.unwritten(problem) or support.refusal()
        if reason is not None:
            return reason
        return proof.ask(self.name, *proof.kind_of(problem), torch.compiler.is_compiling())

    def unwritten(self, problem: Problem) -> str | None:
        """Says why no kernel was written for the problem, whatever the machine."""
        if problem.dims != 2:
            return f"spatial dimensions: expected 2, got {problem.dims}"
        if problem.dtype not in _DTYPES:
            return f"dtype: expected {' or '.join(_DTYPES)}, got {problem.dtype}"
        kernel = problem.window.kernel
        if kernel not in _KERNELS:
            return f"kernel_size: expected 1 or 3 in both directions, got {kernel}"
        if kernel[1] > 1 and problem.window.dilation[1] != 1:
            # neighbouring windows must share columns
            return f"dilation along rows: expected 1, got {problem.window.dilation[1]}"
        if problem.groups != 1:
            return f"groups: expected 1, got {problem.groups}"
        if problem.op.startswith(("line_", "channel_gate")) and problem.in_channels > _HIDDEN:
            return (
                f"hidden channels of a gate: expected at most {_HIDDEN}, got {problem.in_channels}"
            )
        if problem.variant and problem.variant not in GATES:
            return f"variant: expected one of {', '.join(GATES)}, got {problem.variant!r}"
        return None

    def hesitation(self, problem: Problem) -> str | None:
        """None: where the kernels were proved, ``auto`` takes them."""
        return None

    def status(self) -> Status:
        """Versions of Triton and CUDA, the device and its proof, or why the kernels cannot run."""
        reason = support.refusal()
        details = dict(support.details())
        if reason is None:
            details |= proof.proofs[self.name].summary()
        return Status(self.name, reason, details)


BACKEND = TritonBackend()
proof.proofs[TritonBackend.name] = proof.Proof(
    TritonBackend.name, support.identities, support.may_run
)
