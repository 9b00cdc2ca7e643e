"""Registers the kernels for CUDA tensors; a kernel's module is imported by its first call."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from rfaconv.backends.triton import support

__all__ = ["KERNELS", "register"]

KERNELS = {
    "patch_moments": "moments",
    "patch_moments_backward": "moments",
    "feature_stats": "stats",
    "feature_stats_backward": "backward",
    "project": "project",
    "project_backward": "backward",
    "feature_stats_linked": "linked",
    "feature_stats_linked_backward": "linked",
    "project_linked": "linked",
    "project_linked_backward": "linked",
    "fold_statistics": "fold",
    "fold_statistics_backward": "fold",
    "update_running": "fold",
    "channel_gate": "channel_gate",
    "channel_gate_backward": "channel_gate",
    "pixel_gate": "pixel_gate",
    "pixel_gate_backward": "pixel_gate",
    "line_hidden": "line_layers",
    "line_hidden_backward": "line_layers",
    "line_gates": "line_layers",
    "line_gates_backward": "line_layers",
    "coordinate_gates": "line_gates",
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
