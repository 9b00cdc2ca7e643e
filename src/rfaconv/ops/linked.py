"""Statistics and projection whose backward passes are linked, on CUDA alone.

Both differentiate through the same features. Apart, each backward pass makes them again and goes
from their gradient to x; linked, only that of the statistics does, for both. What it needs of the
projection comes along edges of autograd: ``panel`` stands for the panel ``f a``, (B, Ho, Wo, T, C)
in the dtype of x, and receives its gradient; ``gate0`` and ``gate1`` receive the gates themselves.
All three have a shape, but no numbers: one element is all their memory.

``project_linked`` computes what ``project`` computes, and gives no gradient to x, the features'
parameters and the channel gate of rfcbam: the statistics do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.geometry import Window
from rfaconv.ops.autograd import gates_of, keep_operands, second_derivative
from rfaconv.ops.schema import (
    _FEATURES,
    _check_features,
    _fake,
    _feature_stats,
    _like,
    _lines,
    _nothing,
    _project,
    _tags,
    _weight_like,
)

__all__ = ["LINKED_DEFINITIONS", "empty_ties", "stand_ins"]

LINKED_DEFINITIONS: dict[str, str] = {
    # channel: rfcbam's gate, for its gradient alone; ties: how many channels have the maximum
    "feature_stats_linked": (
        f"({_FEATURES}, Tensor? channel, str variant, int[] window) -> "
        "(Tensor s0, Tensor s1, Tensor ties, Tensor panel, Tensor gate0, Tensor gate1)"
    ),
    # dchannel and what is read of s0 and ties are of rfcbam alone
    "feature_stats_linked_backward": (
        f"(Tensor d0, Tensor d1, Tensor dpanel, Tensor[] gate, {_FEATURES}, Tensor s0, "
        "Tensor ties, str variant, int[] window) -> "
        "(Tensor dx, Tensor dfeature_weight, Tensor dfeature_bias, Tensor dchannel)"
    ),
    "project_linked": (
        f"(Tensor panel, Tensor gate0, Tensor gate1, {_FEATURES}, Tensor[] gate, Tensor weight, "
        "Tensor? bias, str variant, int[] window) -> Tensor y"
    ),
    # dgate: of rfcbam's two gates the first comes back empty
    "project_linked_backward": (
        f"(Tensor dy, {_FEATURES}, Tensor[] gate, Tensor weight, str variant, int[] window) -> "
        "(Tensor dpanel, Tensor dweight, Tensor[] dgate)"
    ),
}

for _name, _schema in LINKED_DEFINITIONS.items():
    torch.library.define(f"rfaconv::{_name}", _schema, tags=_tags())

_OPS = torch.ops.rfaconv


def _shape(x: Tensor, window: Sequence[int]) -> tuple[int, ...]:
    win = Window.from_ints(window)
    return x.size(0), *win.output_size((x.size(2), x.size(3))), win.taps, x.size(1)


@_fake("feature_stats_linked")
def _feature_stats_linked(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, channel: Tensor | None, variant: str,
    window: Sequence[int],
) -> tuple[Tensor, ...]:  # fmt: skip
    torch._check(
        (channel is not None) == (variant == "rfcbam"),
        lambda: f"channel: expected of rfcbam alone, got {channel} for {variant!r}",
    )
    s0, s1 = _feature_stats(x, feature_weight, feature_bias, variant, window)
    return s0, s1, empty_ties(x, s0, channel), *stand_ins(x, (s0, s1), channel, window)


def empty_ties(x: Tensor, top: Tensor, channel: Tensor | None) -> Tensor:
    """Room for a number of channels at every maximum; nothing but for rfcbam."""
    dtype = torch.uint8 if x.size(1) < 256 else torch.int16
    return x.new_empty((0,) if channel is None else top.shape, dtype=dtype)


def stand_ins(
    x: Tensor, stats: Sequence[Tensor], channel: Tensor | None, window: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """What stands for the panel and for the gates, which have the shapes of the statistics but for
    the channel gate.
    """
    gates = stats if channel is None else (channel, stats[1])
    panel = x.new_empty((1,)).expand(_shape(x, window))
    first, second = (g.new_empty((1,)).expand(g.shape) for g in gates)
    return panel, first, second


@_fake("feature_stats_linked_backward")
def _feature_stats_linked_backward(
    d0: Tensor, d1: Tensor, dpanel: Tensor, gate: Sequence[Tensor], x: Tensor,
    feature_weight: Tensor, feature_bias: Tensor, s0: Tensor, ties: Tensor, variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    _check_features(x, feature_weight, feature_bias, window)
    own = variant == "rfcbam"
    dchannel = gate[0].new_empty(gate[0].shape) if own else _nothing(feature_bias)
    weight, bias = (v.new_empty(v.shape) for v in (feature_weight, feature_bias))
    return _like(x), weight, bias, dchannel


@_fake("project_linked")
def _project_linked(
    panel: Tensor, gate0: Tensor, gate1: Tensor, x: Tensor, feature_weight: Tensor,
    feature_bias: Tensor, gate: Sequence[Tensor], weight: Tensor, bias: Tensor | None, variant: str,
    window: Sequence[int],
) -> Tensor:  # fmt: skip
    return _project(x, feature_weight, feature_bias, gate, weight, bias, variant, 1, window)


@_fake("project_linked_backward")
def _project_linked_backward(
    dy: Tensor, x: Tensor, feature_weight: Tensor, feature_bias: Tensor, gate: Sequence[Tensor],
    weight: Tensor, variant: str, window: Sequence[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    _check_features(x, feature_weight, feature_bias, window)
    if variant == "rfca":
        dgate = [_lines(g, g.shape) for g in gate]
    else:
        dgate = [_nothing(gate[0]), gate[1].new_empty(gate[1].shape)]
    return x.new_empty(_shape(x, window)), _weight_like(weight), dgate


def _gates(x: Tensor, gate: Sequence[Tensor], variant: str, window: Window) -> Tensor:
    found = reference.gate_panel(x, gate, variant, window)
    assert found is not None
    return found


# ---- statistics


def _stats_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *operands, channel, ctx.variant, ctx.window = inputs
    s0, s1, ties, *_ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(ties)
    # the maximum tells which channels receive its gradient; means need nothing of the result
    ctx.save_for_backward(*operands, *((s0, ties) if channel is not None else ()))
    ctx.shapes = tuple((s.shape, s.dtype) for s in (s0, s1))


def _stats_backward(
    ctx: Any, d0: Tensor | None, d1: Tensor | None, _: None, dpanel: Tensor | None, *gate: Tensor
) -> tuple[Tensor | None, ...]:
    x, feature_weight, feature_bias, *kept = ctx.saved_tensors
    nothing = feature_weight.new_empty((0,))
    s0, ties = kept or (nothing, nothing)
    # what was used in one place alone has no gradient from the other
    first, second = (
        x.new_zeros(shape, dtype=dtype) if d is None else d
        for d, (shape, dtype) in zip((d0, d1), ctx.shapes, strict=True)
    )
    operands = x, feature_weight, feature_bias, s0
    if dpanel is None:
        grads = _OPS.feature_stats_backward(
            first, second, *operands, nothing, ctx.variant, ctx.window
        )
        return *grads, None, None, None
    *grads, dchannel = _OPS.feature_stats_linked_backward(
        first, second, dpanel, gate, *operands, ties, ctx.variant, ctx.window
    )
    return *grads, dchannel if ctx.variant == "rfcbam" else None, None, None


def _stats_second_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    d0, d1, dpanel, gate, *operands, _, _, ctx.variant, ctx.window = inputs
    ctx.save_for_backward(d0, d1, dpanel, *operands, *gate)


def _stats_second(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    d0, d1, dpanel, *primals = ctx.saved_tensors
    window = Window.from_ints(ctx.window)

    def function(x: Tensor, fw: Tensor, fb: Tensor, *gate: Tensor) -> tuple[Tensor, ...]:
        values = reference.features(x, fw, fb, window)
        stats = reference.feature_stats(x, fw, fb, ctx.variant, window, precomputed=values)
        panel = values * _gates(x, gate, ctx.variant, window)
        return *stats, panel.permute(0, 3, 4, 2, 1)

    # rfcbam's first gate has a gradient among the results, no other gate has
    first = grads[3] if ctx.variant == "rfcbam" else None
    dual, primal = second_derivative(function, primals, [d0, d1, dpanel], [*grads[:3], first, None])
    return *dual, primal[3:], *primal[:3], None, None, None, None


# ---- projection


def _projection_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, _, *operands, gate, weight, _, ctx.variant, ctx.window = inputs
    keep_operands(ctx, operands, gate, weight)


def _projection_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, feature_weight, feature_bias, *kept, weight = ctx.saved_tensors
    need_gate, need_weight, need_bias, *_ = ctx.needs_input_grad[6:]
    gate, others = gates_of(ctx, x, kept)
    dpanel, dweight, dgate = _OPS.project_linked_backward(
        dy, x, feature_weight, feature_bias, gate, weight, ctx.variant, ctx.window
    )
    grads: list[Tensor | None] = [
        g if need and g.numel() else None
        for g, need in zip(dgate, need_gate[: len(gate)], strict=True)
    ]
    return (
        dpanel,
        *gate,
        None,
        None,
        None,
        grads + others,
        dweight if need_weight else None,
        dy.sum((0, 2, 3)) if need_bias else None,
        None,
        None,
    )


def _projection_second_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    dy, *operands, gate, weight, ctx.variant, ctx.window = inputs
    ctx.save_for_backward(dy, *operands, *gate, weight)


def _projection_second(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    """Of gradients with respect to the panel, to K and to gates."""
    if torch.is_grad_enabled():
        raise NotImplementedError("third derivatives: use backend='reference', which has them all")
    dpanel, dweight, dgate = grads
    window = Window.from_ints(ctx.window)
    with torch.enable_grad():
        dy, *rest = (v.detach().requires_grad_() for v in ctx.saved_tensors)
        x, fw, fb, *gate, weight = rest
        panel = reference.features(x, fw, fb, window) * _gates(x, gate, ctx.variant, window)
        y = reference.project(x, fw, fb, [], weight, None, "none", 1, window, precomputed=panel)
        first = torch.autograd.grad(y, [panel, weight, *gate], dy, create_graph=True)
        given = [None if dpanel is None else dpanel.permute(0, 4, 3, 1, 2), dweight, *dgate]
        if ctx.variant == "rfcbam":
            given[2] = None
        pairs = [(f, g.to(f.dtype)) for f, g in zip(first, given, strict=True) if g is not None]
        sources, weights = zip(*pairs, strict=True)
        second = torch.autograd.grad(sources, [dy, *rest], weights, allow_unused=True)
    g_dy, g_x, g_fw, g_fb, *g_gate, g_weight = second
    return g_dy, g_x, g_fw, g_fb, g_gate, g_weight, None, None


_FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "feature_stats_linked": (_stats_backward, _stats_setup),
    "feature_stats_linked_backward": (_stats_second, _stats_second_setup),
    "project_linked": (_projection_backward, _projection_setup),
    "project_linked_backward": (_projection_second, _projection_second_setup),
}

for _name, (_backward, _setup) in _FORMULAS.items():
    torch.library.register_autograd(f"rfaconv::{_name}", _backward, setup_context=_setup)
