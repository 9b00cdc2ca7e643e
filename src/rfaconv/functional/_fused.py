"""Whether a gate is made by a fused operation, and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv import dispatch
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import recorded

_POINT = Window.create(1)
_BACKENDS = {"cpu": "cpu", "cuda": "triton"}
_SOURCE = "_rfaconv_source"


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
    chosen = dispatch.BACKENDS[name]
    if backend == "auto" and chosen.hesitation(problem) is not None:
        return ""
    return name if chosen.refusal(problem) is None else ""


def remember_source(gates: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    """Notes on gates, if autograd records them, the operands they can be made from again.

    The first gate carries the note, so that what a module hands on are plain tensors in a plain
    tuple. A compiler decides by itself what is computed twice.
    """
    if recorded(*gates) and not torch.compiler.is_compiling():
        setattr(gates[0], _SOURCE, (gates[1:], source))


def source_of(gates: Sequence[Tensor]) -> Sequence[Tensor]:
    """The operands that exactly these gates were made from; empty if unknown, or if a hook has put
    another tensor in the place of one.

    None has been written to: torch refuses that for gates, which are results of one operation.
    """
    if torch.compiler.is_compiling() or not gates:
        return ()
    others, source = getattr(gates[0], _SOURCE, ((), ()))
    same = len(others) == len(gates) - 1
    same = same and all(a is b for a, b in zip(others, gates[1:], strict=True))
    found: Sequence[Tensor] = source if same else ()
    return found
