"""Gradients of the operations that make gates.

Nothing is kept that can be computed again from something smaller: of channel gates the means, of
those of lines the hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.ops import gates  # noqa: F401  the formulas are of what it defines
from rfaconv.ops.autograd import reference_gradient
from rfaconv.reference import attention
from rfaconv.reference.features import accumulation_dtype

__all__: list[str] = []

_OPS = torch.ops.rfaconv


# ---- channel_gate


def _channel_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *weights, ctx.backend = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, *output, *weights)


def _channel_backward(ctx: Any, dgate: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    x, gate, mean, *weights = ctx.saved_tensors
    if torch.is_grad_enabled():

        def function(x: Tensor, reduce_weight: Tensor, expand_weight: Tensor) -> Tensor:
            mean = x.mean((2, 3), dtype=accumulation_dtype(x.dtype))
            return attention.channel_gate(mean, reduce_weight, expand_weight)

        return *reference_gradient(function, [x, *weights], [dgate]), None
    share, *dweights = _OPS.channel_gate_backward(
        dgate, gate, mean, *weights, x.size(2) * x.size(3), x.dtype, ctx.backend
    )
    return share[:, :, None, None].expand(x.shape), *dweights, None


# ---- pixel_gate


def _pixel_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.window, ctx.backend = inputs
    ctx.save_for_backward(output, *tensors)


def _pixel_backward(ctx: Any, dgate: Tensor) -> tuple[Any, ...]:
    gate, *tensors = ctx.saved_tensors
    if torch.is_grad_enabled():
        window = Window.from_ints(ctx.window)
        grads = reference_gradient(
            lambda top, mean, weight: attention.pixel_gate(top, mean, weight, window),
            tensors,
            [dgate],
        )
    else:
        grads = _OPS.pixel_gate_backward(dgate, gate, *tensors, ctx.window, ctx.backend)
    return *grads, None, None


# ---- line_hidden


def _hidden_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _hidden_backward(ctx: Any, dhidden: Tensor) -> tuple[Any, ...]:
    *tensors, bias = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *reference_gradient(attention.line_hidden, [*tensors, bias], [dhidden]), None
    *grads, dbias = _OPS.line_hidden_backward(dhidden, *tensors, ctx.backend)
    return *grads, None if bias is None else dbias, None


# ---- line_gates


def _lines_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    hidden, weights, biases, ctx.first, ctx.backend = inputs
    ctx.save_for_backward(hidden, *weights, *biases)


def _lines_backward(ctx: Any, drows: Tensor, dcols: Tensor) -> tuple[Any, ...]:
    hidden, *rest = ctx.saved_tensors
    weights, biases = rest[:2], rest[2:]
    if torch.is_grad_enabled():

        def function(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
            return attention.line_gates(hidden, rest[:2], rest[2:], ctx.first)

        dhidden, *grads = reference_gradient(function, [hidden, *rest], [drows, dcols])
        return dhidden, grads[:2], grads[2:], None, None
    dhidden, dweights, dbiases = _OPS.line_gates_backward(
        drows, dcols, hidden, weights, biases, ctx.first, ctx.backend
    )
    return (
        dhidden,
        [d.to(w.dtype) for d, w in zip(dweights, weights, strict=True)],
        [None if b is None else d.to(b.dtype) for d, b in zip(dbiases, biases, strict=True)],
        None,
        None,
    )


_FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "channel_gate": (_channel_backward, _channel_setup),
    "pixel_gate": (_pixel_backward, _pixel_setup),
    "line_hidden": (_hidden_backward, _hidden_setup),
    "line_gates": (_lines_backward, _lines_setup),
}

for _name, (_backward, _setup) in _FORMULAS.items():
    torch.library.register_autograd(f"rfaconv::{_name}", _backward, setup_context=_setup)
