"""Whether a gate is made by a fused operation."""

from __future__ import annotations

from torch import Tensor

from rfaconv import dispatch
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import recorded

_POINT = Window.create(1)


def fused_gate(*tensors: Tensor, backend: str = "auto", window: Window = _POINT) -> bool:
    """Whether the CPU kernels make a gate from these tensors: float32, and nothing recorded."""
    if backend not in ("auto", "cpu") or recorded(*tensors) or dispatch.plain_torch_required():
        return False
    device, dtype = tensors[0].device.type, str(tensors[0].dtype).removeprefix("torch.")
    problem = Problem("gate", "", device, dtype, window, 1)
    return dtype == "float32" and dispatch.BACKENDS["cpu"].refusal(problem) is None
