"""The backends by name, in order of priority, and the ops that call their kernels."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from rfaconv import ops
from rfaconv._autocast import under_autocast, without_autocast
from rfaconv.backends.base import Backend
from rfaconv.errors import unknown_name

__all__ = ["BACKENDS", "PRIORITY", "add", "remove"]

PRIORITY = ["triton", "cpu"]
"""Backends in the order in which ``auto`` asks them; the reference, which runs everything, comes
after them.
"""

BACKENDS: dict[str, Backend] = {}


def add(backend: Backend, *, first: bool = True) -> None:
    """Makes a backend known to the dispatcher.

    Args:
        backend: the backend; one of the same name is replaced.
        first: whether ``auto`` asks it before all others; else after them.
    """
    BACKENDS[backend.name] = backend
    if backend.name not in PRIORITY:
        PRIORITY.insert(0 if first else len(PRIORITY), backend.name)
    if backend.channels_adjacent:
        ops.CHANNELS_ADJACENT.add(backend.name)


def remove(name: str) -> None:
    """Takes back :func:`add`."""
    del BACKENDS[name]
    PRIORITY.remove(name)
    ops.CHANNELS_ADJACENT.discard(name)


def _call(op: str) -> Any:
    def run(*args: Any) -> Any:
        *operands, backend = args
        found = BACKENDS.get(backend)
        if found is None or op not in found.kernels:
            names = [name for name, b in BACKENDS.items() if op in b.kernels]
            raise unknown_name("backend", backend, names)
        kernel = found.kernels[op]
        if not under_autocast(operands[0]):
            return kernel(*operands)
        with without_autocast(operands[0]):
            return kernel(*operands)

    run.__name__ = op
    return run


for _op in ops.NAMES:
    # one function for all devices: the backend that runs is the one that was named
    torch.library.impl(f"rfaconv::{_op}", "default")(_call(_op))
for _name in tuple(PRIORITY):
    add(import_module(f"rfaconv.backends.{_name}").BACKEND)
