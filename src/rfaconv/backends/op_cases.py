"""Parity checks of the operations that make gates, fold BatchNorm or run a whole layer.

Those of the other operations are :mod:`rfaconv.backends.cases`; the rule that judges both is
:mod:`rfaconv.reference.parity`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rfaconv.backends.op_formulas import HIDDEN, OPS
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import accumulation_dtype
from rfaconv.reference.parity import Parity, compare

__all__ = ["OPS", "OpCase", "op_parity"]

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class OpCase:
    """One operation on one shape.

    Attributes:
        op: A name of :data:`OPS`.
        backend: The backend whose kernel runs.
        device: Where it runs.
        variant: Operator, of a whole layer.
        dtype: Of the map and the parameters.
        window: The sliding window.
        channels: C.
        channels_last: Memory format of the map.
    """

    op: str
    backend: str
    device: str
    variant: str = ""
    dtype: torch.dtype = torch.float32
    window: Window = field(default_factory=lambda: Window.create(3))
    channels: int = 19
    channels_last: bool = False

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        parts = (self.op, self.variant, str(self.window), dtype, "nhwc" * self.channels_last)
        return "-".join(filter(None, parts))

    @property
    def problem(self) -> Problem:
        """What the dispatcher would be asked."""
        dtype, device = str(self.dtype).removeprefix("torch."), torch.device(self.device).type
        return Problem(self.op, self.variant, device, dtype, self.window, HIDDEN)


def op_parity(case: OpCase, *, gradients: bool = True, seed: int = 0) -> list[Parity]:
    """Runs the operation, plain torch in the same dtype, and plain torch in float64.

    Returns:
        One row per result and, with ``gradients``, per input that has one, ``dNAME``.
    """
    op, generator = OPS[case.op], torch.Generator().manual_seed(seed)
    gradients = gradients and op.differentiable

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {name: value.to(_dtype(case, name)) for name, value in op.draw(case, normal).items()}
    cotangents: list[Tensor] = []

    def run(function: Callable[..., tuple[Tensor, ...]], exact: bool) -> Tensors:
        leaves = {name: _placed(case, name, value, exact) for name, value in inputs.items()}
        leaves = {name: leaf.requires_grad_(gradients) for name, leaf in leaves.items()}
        with torch.set_grad_enabled(gradients):
            outputs = function(case, leaves)
        found = {f"result{i}": value.detach() for i, value in enumerate(outputs)}
        if not gradients:
            return found
        if not cotangents:
            cotangents.extend(normal(*value.shape) for value in outputs)
        given = [c.to(v.device, v.dtype) for c, v in zip(cotangents, outputs, strict=True)]
        grads = torch.autograd.grad(outputs, list(leaves.values()), given)
        return found | {f"d{name}": grad for name, grad in zip(leaves, grads, strict=True)}

    fused, plain, oracle = (
        run(op.fused, False), run(op.plain, False), run(op.plain, True),
    )  # fmt: skip
    rows = []
    for name, value in fused.items():
        # what was made from a map of lower precision is judged as that
        kind = case.dtype if value.dtype == torch.float64 else value.dtype
        rows.append(compare(name, value.cpu(), plain[name].cpu(), oracle[name].cpu(), dtype=kind))
    return rows


def _dtype(case: OpCase, name: str) -> torch.dtype:
    if name.startswith("m_"):
        return torch.float64
    return case.dtype if name.startswith("i_") else accumulation_dtype(case.dtype)


def _placed(case: OpCase, name: str, value: Tensor, exact: bool) -> Tensor:
    value = value.double() if exact else value.to(case.device, copy=True)
    if name == "i_x" and case.channels_last:
        value = value.to(memory_format=torch.channels_last)
    return value.detach().clone(memory_format=torch.preserve_format)
