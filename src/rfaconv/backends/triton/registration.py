"""The kernels for CUDA tensors by operation; a kernel's module is imported by its first call."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["KERNELS", "kernels"]

KERNELS = {
    "attend": "attend.launch",
    "patch_moments": "moments.launch",
    "patch_moments_backward": "moments.launch",
    "feature_stats": "stats.launch",
    "feature_stats_backward": "stats.backward",
    "project": "project.launch",
    "project_backward": "project.backward",
    "project_linked_backward": "linked.launch",
    "feature_stats_linked_backward": "linked.launch",
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
