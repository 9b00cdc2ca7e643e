"""The kernels for CUDA tensors; a kernel's module is imported by its first call."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["KERNELS", "kernels"]

KERNELS = {
    "patch_moments": "moments",
    "patch_moments_backward": "moments",
    "feature_stats": "stats",
    "feature_stats_backward": "backward",
    "project": "project",
    "project_backward": "backward",
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
}
"""Op to the module of this package that has a function of the same name."""


def kernels() -> dict[str, Any]:
    """The kernels by op; each imports its module when it is first called."""
    return {op: _deferred(op, module) for op, module in KERNELS.items()}


def _deferred(op: str, module: str) -> Any:
    """A function that imports the module when it is first called."""

    def call(*args: Any) -> Any:
        return getattr(import_module(f"rfaconv.backends.triton.{module}"), op)(*args)

    call.__name__ = op
    return call
