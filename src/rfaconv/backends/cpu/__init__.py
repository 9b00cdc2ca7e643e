"""The C++ kernels of ``csrc/`` on the CPU, called through ctypes. May import L0 to L2.

The library (``librfaconv_cpu.so``, on Windows ``.dll``) lies in this folder. ``pip install`` puts
it there; while developing, ``cmake -S csrc -B build -G Ninja && cmake --build build`` does.
"""

from __future__ import annotations

from typing import ClassVar

from rfaconv.backends.base import Backend, Kernel, Status
from rfaconv.backends.cpu import forward, gates, kernels, library
from rfaconv.geometry import Problem
from rfaconv.variants import GATES

__all__ = ["BACKEND", "CPUBackend", "library"]

_DTYPES = ("float32", "bfloat16")
_KERNELS = ((1, 1), (3, 3), (5, 5))
# in float32 alone
_GATES: dict[str, Kernel] = {
    "pixel_gate": gates.pixel_gate,
    "line_hidden": gates.line_hidden,
    "line_gates": gates.line_gates,
}
_INFERENCE: dict[str, Kernel] = {"attend": forward.attend, **_GATES}


class CPUBackend(Backend):
    """Fused kernels for float32 and bfloat16, kernels 1x1, 3x3, 5x5, one group."""

    name: ClassVar[str] = "cpu"
    device: ClassVar[str] = "cpu"
    kernels: ClassVar[dict[str, Kernel]] = {
        **{name: getattr(kernels, name) for name in kernels.__all__},
        **_INFERENCE,
    }

    def unsupported(self, problem: Problem) -> str | None:
        """Says why the CPU kernels cannot run the problem, or None if they can."""
        if problem.dims != 2:
            return f"spatial dimensions: expected 2, got {problem.dims}"
        dtypes = ("float32",) if problem.op in _GATES else _DTYPES
        if problem.dtype not in dtypes:
            return f"dtype: expected {' or '.join(dtypes)}, got {problem.dtype}"
        if problem.window.kernel not in _KERNELS:
            return (
                f"kernel_size: expected 1, 3 or 5 in both directions, got {problem.window.kernel}"
            )
        if problem.groups != 1:
            return f"groups: expected 1, got {problem.groups}"
        if problem.variant and problem.variant not in GATES:
            return f"variant: expected one of {', '.join(GATES)}, got {problem.variant!r}"
        if problem.recorded and problem.op in _INFERENCE:
            return f"autograd: the kernel of {problem.op} has no gradient"
        return library.refusal()

    def hesitation(self, problem: Problem) -> str | None:
        """Says that the kernels have no vector instructions to use here, or None if they have."""
        return library.hesitation()

    def status(self) -> Status:
        """Path, instruction set and build of the library, or why there is none."""
        loaded = library.load()
        return Status(self.name, loaded.reason, loaded.details)


BACKEND = CPUBackend()
