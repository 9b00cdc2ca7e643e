"""Whether a gate is made by a fused operation."""

from __future__ import annotations

from torch import Tensor

from rfaconv import dispatch
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import recorded

_POINT = Window.create(1)
_BACKENDS = {"cpu": "cpu", "cuda": "triton"}


def gate_backend(
    *tensors: Tensor, backend: str = "auto", window: Window = _POINT, hidden: int = 1
) -> str:
    """The backend whose kernels make a gate from these tensors, ``cpu`` or ``triton``; empty for
    plain torch.

    On the CPU they take float32, and nothing may be recorded.
    """
    device, dtype = tensors[0].device.type, str(tensors[0].dtype).removeprefix("torch.")
    name = _BACKENDS.get(device, "")
    if not name or backend not in ("auto", name):
        return ""
    if (name == "cpu" and recorded(*tensors)) or dispatch.plain_torch_required():
        return ""
    problem = Problem("gate", "", device, dtype, window, hidden)
    return name if dispatch.BACKENDS[name].refusal(problem) is None else ""
