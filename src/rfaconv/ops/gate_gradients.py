"""Gradients of the operations that make gates, on CUDA alone.

Nothing is kept that can be computed again from something smaller: of channel gates the means, of
those of lines the hidden channels. On the CPU nothing of this is recorded; see
:mod:`rfaconv.functional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.ops import gates  # noqa: F401  the formulas are of what it defines
from rfaconv.ops.autograd import second_derivative
from rfaconv.ops.schema import _fake, _lines, _weight_like
from rfaconv.reference import attention

__all__ = ["GATE_GRADIENTS"]

GATE_GRADIENTS: dict[str, str] = {
    # dmean: what every pixel of x receives, (B, C) in the given dtype
    "channel_gate_backward": (
        "(Tensor dgate, Tensor gate, Tensor mean, Tensor reduce_weight, Tensor expand_weight, "
        "int pixels, ScalarType dtype) -> (Tensor dmean, Tensor dreduce, Tensor dexpand)"
    ),
    "pixel_gate_backward": (
        "(Tensor dgate, Tensor gate, Tensor maximum, Tensor mean, Tensor weight, int[] window) -> "
        "(Tensor dmaximum, Tensor dmean, Tensor dweight)"
    ),
    "line_hidden_backward": (
        "(Tensor dhidden, Tensor first, Tensor second, Tensor weight) -> "
        "(Tensor dfirst, Tensor dsecond, Tensor dweight, Tensor dbias)"
    ),
    # dweights (2, C, M) and dbiases (2, C) in float32
    "line_gates_backward": (
        "(Tensor drows, Tensor dcols, Tensor hidden, Tensor[] weights, Tensor?[] biases, "
        "int first) -> (Tensor dhidden, Tensor dweights, Tensor dbiases)"
    ),
}

for _name, _schema in GATE_GRADIENTS.items():
    torch.library.define(f"rfaconv::{_name}", _schema, tags=(torch.Tag.pt2_compliant_tag,))

_OPS = torch.ops.rfaconv


def _like(value: Tensor) -> Tensor:
    return value.new_empty(value.shape)


@_fake("channel_gate_backward")
def _channel_gate_fake(
    dgate: Tensor, gate: Tensor, mean: Tensor, reduce_weight: Tensor, expand_weight: Tensor,
    pixels: int, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dmean = mean.new_empty(mean.shape, dtype=dtype)
    return dmean, _like(reduce_weight), _like(expand_weight)


@_fake("pixel_gate_backward")
def _pixel_gate_fake(
    dgate: Tensor, gate: Tensor, maximum: Tensor, mean: Tensor, weight: Tensor,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _like(gate), _like(gate), _weight_like(weight)


@_fake("line_hidden_backward")
def _line_hidden_fake(
    dhidden: Tensor, first: Tensor, second: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dbias = weight.new_empty((weight.size(0),))
    return _lines(first, first.shape), _lines(second, second.shape), _like(weight), dbias


@_fake("line_gates_backward")
def _line_gates_fake(
    drows: Tensor, dcols: Tensor, hidden: Tensor, weights: Sequence[Tensor],
    biases: Sequence[Tensor | None], first: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shape = 2, *weights[0].shape
    return _like(hidden), hidden.new_empty(shape), hidden.new_empty(shape[:2])


# ---- channel_gate


def _channel_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *weights = inputs
    ctx.shape, ctx.dtype, ctx.pixels = x.shape, x.dtype, x.size(2) * x.size(3)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *weights)


def _channel_backward(ctx: Any, dgate: Tensor | None, dmean: Tensor | None) -> tuple[Any, ...]:
    share, dweights = None, [None, None]
    if dgate is not None:
        share, *dweights = _OPS.channel_gate_backward(
            dgate, *ctx.saved_tensors, ctx.pixels, ctx.dtype
        )
    if dmean is not None:  # of second derivatives alone: nobody else reads the means
        more = (dmean / ctx.pixels).to(ctx.dtype)
        share = more if share is None else share + more
    dx = None if share is None else share[:, :, None, None].expand(ctx.shape)
    return dx, *dweights


def _channel_second_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    dgate, _, mean, *weights, ctx.pixels, _ = inputs
    ctx.save_for_backward(dgate, mean, *weights)


def _channel_second(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    dgate, *primals = ctx.saved_tensors
    scaled = None if grads[0] is None else grads[0].float() / ctx.pixels
    (g_dgate,), g_primals = second_derivative(
        attention.channel_gate, primals, [dgate], [scaled, *grads[1:]]
    )
    return g_dgate, None, *g_primals, None, None


# ---- pixel_gate


def _pixel_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.window = inputs
    ctx.save_for_backward(output, *tensors)


def _pixel_backward(ctx: Any, dgate: Tensor) -> tuple[Any, ...]:
    return *_OPS.pixel_gate_backward(dgate, *ctx.saved_tensors, ctx.window), None


def _pixel_second_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    dgate, _, *primals, ctx.window = inputs
    ctx.save_for_backward(dgate, *primals)


def _pixel_second(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    dgate, *primals = ctx.saved_tensors
    window = Window.from_ints(ctx.window)
    (g_dgate,), g_primals = second_derivative(
        lambda *maps: attention.pixel_gate(maps[0], maps[1], maps[2], window),
        primals,
        [dgate],
        grads,
    )
    return g_dgate, None, *g_primals, None


# ---- line_hidden


def _hidden_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, weight, bias = inputs
    ctx.bias = bias is not None
    ctx.save_for_backward(first, second, weight)


def _hidden_backward(ctx: Any, dhidden: Tensor) -> tuple[Any, ...]:
    *grads, dbias = _OPS.line_hidden_backward(dhidden, *ctx.saved_tensors)
    return *grads, dbias if ctx.bias else None


def _hidden_second_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _hidden_second(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    dhidden, *primals = ctx.saved_tensors
    bias = primals[2].new_zeros(len(primals[2]))
    (g_dhidden,), g_primals = second_derivative(
        attention.line_hidden, [*primals, bias], [dhidden], grads
    )
    return g_dhidden, *g_primals[:3]


# ---- line_gates


def _lines_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    hidden, weights, biases, ctx.first = inputs
    ctx.save_for_backward(hidden, *weights, *biases)


def _lines_backward(ctx: Any, drows: Tensor, dcols: Tensor) -> tuple[Any, ...]:
    hidden, *rest = ctx.saved_tensors
    weights, biases = rest[:2], rest[2:]
    dhidden, dweights, dbiases = _OPS.line_gates_backward(
        drows, dcols, hidden, weights, biases, ctx.first
    )
    return (
        dhidden,
        [d.to(w.dtype) for d, w in zip(dweights, weights, strict=True)],
        [None if b is None else d.to(b.dtype) for d, b in zip(dbiases, biases, strict=True)],
        None,
    )


def _lines_second_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    drows, dcols, hidden, weights, biases, ctx.first = inputs
    ctx.save_for_backward(drows, dcols, hidden, *weights, *biases)


def _lines_second(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    drows, dcols, hidden, *rest = ctx.saved_tensors
    given = [value for value in rest if value is not None]
    wanted = [grads[0], *(None,) * 2]
    if grads[1] is not None:
        wanted = [grads[0], *grads[1]]
    if grads[2] is not None:
        wanted += [g for g, b in zip(grads[2], rest[2:], strict=True) if b is not None]
    wanted += [None] * (1 + len(given) - len(wanted))

    def function(hidden: Tensor, first: Tensor, second: Tensor, *biases: Tensor) -> Any:
        left = list(biases)
        both = [None if bias is None else left.pop(0) for bias in rest[2:]]
        return attention.line_gates(hidden, [first, second], both, ctx.first)

    dual, (g_hidden, *g_given) = second_derivative(
        function, [hidden, *given], [drows, dcols], wanted
    )
    g_rest = [None if v is None else g_given.pop(0) for v in rest]
    return *dual, g_hidden, g_rest[:2], g_rest[2:], None


_FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "channel_gate": (_channel_backward, _channel_setup),
    "channel_gate_backward": (_channel_second, _channel_second_setup),
    "pixel_gate": (_pixel_backward, _pixel_setup),
    "pixel_gate_backward": (_pixel_second, _pixel_second_setup),
    "line_hidden": (_hidden_backward, _hidden_setup),
    "line_hidden_backward": (_hidden_second, _hidden_second_setup),
    "line_gates": (_lines_backward, _lines_setup),
    "line_gates_backward": (_lines_second, _lines_second_setup),
}

for _name, (_backward, _setup) in _FORMULAS.items():
    torch.library.register_autograd(f"rfaconv::{_name}", _backward, setup_context=_setup)
