"""A backend whose kernels are the reference on the CPU, some of them spoilt on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.backends import proof
from rfaconv.backends.base import Backend, Kernel, Status
from rfaconv.geometry import Problem, Window

Function = Callable[..., Any]


def _recorded(run: Function) -> Any:
    """Runs where autograd records, which it does not inside of an operation."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    return found[0]


def _gradients(function: Function, primals: Sequence[Tensor], given: Sequence[Tensor]) -> Any:
    def run() -> Any:
        leaves = [p.detach().requires_grad_() for p in primals]
        results = function(*leaves)
        results = results if isinstance(results, tuple) else (results,)
        return torch.autograd.grad(
            results, leaves, [d.to(r.dtype) for d, r in zip(given, results, strict=True)]
        )

    return _recorded(run)


def _moments(x: Tensor, window: Sequence[int]) -> Any:
    return reference.patch_moments(x, Window.from_ints(window))


def _moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    found: Tensor = _gradients(lambda x: _moments(x, window), [x], [dmean, dcov])[0]
    return found


def _project(
    x: Tensor, fw: Tensor, fb: Tensor, gate: Sequence[Tensor], weight: Tensor, bias: Tensor | None,
    variant: str, groups: int, window: Sequence[int],
) -> Tensor:  # fmt: skip
    return reference.project(
        x, fw, fb, gate, weight, bias, variant, groups, Window.from_ints(window)
    )


def _project_backward(
    dy: Tensor, x: Tensor, fw: Tensor, fb: Tensor, gate: Sequence[Tensor], weight: Tensor,
    variant: str, groups: int, window: Sequence[int], needs: Sequence[bool],
) -> Any:  # fmt: skip
    def run(x: Tensor, fw: Tensor, fb: Tensor, weight: Tensor, *gate: Tensor) -> Tensor:
        return _project(x, fw, fb, gate, weight, None, variant, groups, window)

    (*grads,) = _gradients(run, [x, fw, fb, weight, *gate], [dy])
    return (*grads[:4], grads[4:])


RIGHT: dict[str, Kernel] = {
    "patch_moments": _moments,
    "patch_moments_backward": _moments_backward,
    "project": _project,
    "project_backward": _project_backward,
}


class FakeBackend(Backend):
    """Takes everything that its kernels were proved for.

    Attributes:
        calls: names of the kernels that ran.
    """

    name: ClassVar[str] = "fake"
    device: ClassVar[str] = "cpu"

    def __init__(self, **spoilt: Kernel) -> None:
        self.calls: list[str] = []
        self.kernels = {n: self._noted(n, k) for n, k in {**RIGHT, **spoilt}.items()}

    def _noted(self, name: str, kernel: Kernel) -> Kernel:
        def run(*args: Any) -> Any:
            self.calls.append(name)
            return kernel(*args)

        return run

    def unsupported(self, problem: Problem) -> str | None:
        """What the proof says."""
        if problem.dtype != "float32" or problem.window.kernel != (3, 3):
            return "dtype and kernel: expected float32 and 3x3"
        kind = proof.kind_of(problem)
        return proof.ask(self.name, *kind, torch.compiler.is_compiling())

    def hesitation(self, problem: Problem) -> str | None:
        """None."""
        return None

    def status(self) -> Status:
        """Always there."""
        return Status(self.name, None, proof.proofs[self.name].summary())
