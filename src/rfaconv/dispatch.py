"""Which backend runs a problem: one ordered tuple of names, and a reason for every refusal. May
import L0 to L3.
"""

from __future__ import annotations

import functools
import logging

import torch

from rfaconv._torch import is_exporting
from rfaconv.backends.base import Status
from rfaconv.backends.registry import BACKENDS, PRIORITY
from rfaconv.errors import BackendUnavailable, unknown_name
from rfaconv.geometry import Problem

__all__ = ["BACKENDS", "PRIORITY", "available", "plain_torch_required", "refusals", "select"]

REFERENCE = "reference"

_log = logging.getLogger(__name__)


def plain_torch_required() -> bool:
    """Whether ordinary aten operations must be used whatever the backend: export, tracing,
    functorch, dual numbers.

    An opaque op has no ONNX translation, no batching rule and no forward derivative; the reference
    has all of them. Both ONNX exporters trace or export.
    """
    return (
        torch._C._get_tracing_state() is not None
        or is_exporting()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def select(problem: Problem, backend: str = "auto", *, required: bool = True) -> str:
    """Names the backend that runs the problem.

    Args:
        problem: What is to be computed.
        backend: ``"auto"`` for the first of :data:`PRIORITY` that can and does not hesitate, else
            the reference; or a name.
        required: Whether a named backend must have the op; else the reference stands in.

    Returns:
        ``"reference"`` or a name of :data:`PRIORITY`.

    Raises:
        BackendUnavailable: A backend was named that cannot run the problem.
        InvalidArgument: No backend has this name.

    Example:
        >>> from rfaconv.geometry import Window
        >>> window = Window.create(3)
        >>> select(Problem("project", "rfa", "cpu", "float64", window, 8, 8))
        'reference'
    """
    if backend not in BACKENDS and backend not in ("auto", REFERENCE):
        raise unknown_name("backend", backend, ("auto", *PRIORITY, REFERENCE))
    if backend == REFERENCE or plain_torch_required():
        return REFERENCE
    if backend != "auto":
        reason = BACKENDS[backend].refusal(problem)
        if reason is None:
            return backend
        if required:
            raise BackendUnavailable(backend, reason)
        return REFERENCE
    for name in PRIORITY:
        if (BACKENDS[name].refusal(problem) or BACKENDS[name].hesitation(problem)) is None:
            return name
    if required and not torch.compiler.is_compiling():
        _log_fallback(
            problem.device, problem.dtype, problem.variant, problem.window.kernel, problem.groups
        )
    return REFERENCE


@functools.lru_cache(maxsize=64)
def _log_fallback(
    device: str, dtype: str, variant: str, kernel: tuple[int, ...], groups: int
) -> None:
    """Says once per kind of problem that the reference runs; :func:`refusals` has the reasons."""
    _log.info(
        "the reference runs %s on %s with %s, kernel %s, groups %d: no fused backend takes it",
        *(variant or "patch_moments", device, dtype, kernel, groups),
    )


def refusals(problem: Problem) -> dict[str, str | None]:
    """Every backend's answer to the problem: None where ``auto`` may take it, else why not.

    Example:
        >>> from rfaconv.geometry import Window
        >>> refusals(Problem("project", "rfa", "meta", "float32", Window.create(3), 8, 8))["cpu"]
        'device: expected cpu, got meta'
    """
    backends = [BACKENDS[name] for name in PRIORITY]
    answers = {b.name: b.refusal(problem) or b.hesitation(problem) for b in backends}
    return {**answers, REFERENCE: None}


def available() -> tuple[Status, ...]:
    """The status of every backend on this machine in order of priority, the reference last, for
    ``rfaconv doctor``.
    """
    return (
        *(BACKENDS[name].status() for name in PRIORITY),
        Status(REFERENCE, None, {"torch": torch.__version__}),
    )
