"""Registers the kernels for CUDA tensors; a kernel's module is imported by its first call."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from rfaconv.backends.triton import support

__all__ = ["KERNELS", "register"]

KERNELS = {
    "patch_moments": "moments.launch",
    "patch_moments_backward": "moments.launch",
    "feature_stats": "stats.launch",
    "feature_stats_backward": "stats.backward",
    "project": "project.launch",
    "project_backward": "project.backward",
    "feature_stats_linked": "linked.launch",
    "feature_stats_linked_backward": "linked.launch",
    "project_linked": "linked.launch",
    "project_linked_backward": "linked.launch",
    "fold_statistics": "fold.launch",
    "fold_statistics_backward": "fold.launch",
    "update_running": "fold.launch",
    "channel_gate": "gates.channel",
    "channel_gate_backward": "gates.channel",
    "pixel_gate": "gates.pixel",
    "pixel_gate_backward": "gates.pixel",
    "line_hidden": "gates.lines",
    "line_hidden_backward": "gates.lines",
    "line_gates": "gates.lines",
    "line_gates_backward": "gates.lines",
    "coordinate_gates": "gates.coordinate",
}
"""Op to the module of this package that has a function of the same name."""


def register() -> None:
    """Registers all ops for CUDA if Triton is installed; without it the dispatcher says so."""
    if not support.installed():
        return
    for op, module in KERNELS.items():
        torch.library.impl(f"rfaconv::{op}", "cuda", _deferred(op, module))


def _deferred(op: str, module: str) -> Any:
    """A function that imports the module when it is first called."""

    def call(*args: Any) -> Any:
        return getattr(import_module(f"rfaconv.backends.triton.{module}"), op)(*args)

    call.__name__ = op
    return call
