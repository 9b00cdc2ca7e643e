"""Gradients of the operations: each forward op differentiates into its ``*_backward`` op, on every
backend alike.

Only what the backward reads is saved: never anything as large as the panel, and the input ``x`` as
the very tensor that a convolution would keep. The ``*_backward`` ops differentiate through the
reference formulas, so second derivatives work, at the speed and memory of plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.geometry import Window
from rfaconv.ops.schema import DEFINITIONS, stats_shapes

__all__ = ["gates_of", "keep_operands", "second_derivative"]

_OPS = torch.ops.rfaconv


def second_derivative(
    function: Callable[..., Any],
    primals: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    grads: Sequence[Tensor | None],
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Gradients of ``vjp(function, primals)(cotangents)``, contracted with ``grads``.

    Returns the gradients for the cotangents and for the primals.

    Raises:
        NotImplementedError: if they are themselves to be differentiated.
    """
    if torch.is_grad_enabled():
        raise NotImplementedError("third derivatives: use backend='reference', which has them all")
    with torch.enable_grad():
        # leaves of their own: a cotangent's history may lead back to the primals
        primals = [p.detach().requires_grad_() for p in primals]
        cotangents = [d.detach().requires_grad_() for d in cotangents]
        outputs = function(*primals)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        first = torch.autograd.grad(
            outputs, primals, cotangents, create_graph=True, allow_unused=True
        )
        pairs = [
            (f, g.to(f.dtype))
            for f, g in zip(first, grads, strict=True)
            if g is not None and f is not None and f.requires_grad
        ]
        if not pairs:
            return [None] * len(cotangents), [None] * len(primals)
        sources, weights = zip(*pairs, strict=True)
        second = torch.autograd.grad(sources, [*cotangents, *primals], weights, allow_unused=True)
    return list(second[: len(cotangents)]), list(second[len(cotangents) :])


# ---- patch_moments


def _moments_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.window = inputs
    ctx.save_for_backward(x, output[0])


def _moments_backward(ctx: Any, dmean: Tensor, dcov: Tensor) -> tuple[Tensor, None]:
    x, mean = ctx.saved_tensors
    return _OPS.patch_moments_backward(dmean, dcov, x, mean, ctx.window), None


def _moments_second_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    dmean, dcov, x, _, ctx.window = inputs
    ctx.save_for_backward(dmean, dcov, x)


def _moments_second(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    dmean, dcov, x = ctx.saved_tensors
    window = Window.from_ints(ctx.window)
    (g_mean, g_cov), (g_x,) = second_derivative(
        lambda x: reference.patch_moments(x, window), [x], [dmean, dcov], [grad]
    )
    return g_mean, g_cov, g_x, None, None


# ---- feature_stats


def _stats_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, feature_weight, feature_bias, ctx.variant, ctx.window = inputs
    # The maximum tells which channels receive its gradient; means need nothing of the result.
    kept = output[:1] if ctx.variant == "rfcbam" else ()
    ctx.save_for_backward(x, feature_weight, feature_bias, *kept)


def _stats_backward(ctx: Any, d0: Tensor, d1: Tensor) -> tuple[Tensor | None, ...]:
    x, feature_weight, feature_bias, *kept = ctx.saved_tensors
    nothing = feature_weight.new_empty((0,))
    s0 = kept[0] if kept else nothing
    grads = _OPS.feature_stats_backward(
        d0, d1, x, feature_weight, feature_bias, s0, nothing, ctx.variant, ctx.window
    )
    return *grads, None, None


def _stats_second_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    d0, d1, x, feature_weight, feature_bias, _, _, ctx.variant, ctx.window = inputs
    ctx.save_for_backward(d0, d1, x, feature_weight, feature_bias)


def _stats_second(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    d0, d1, *primals = ctx.saved_tensors
    window = Window.from_ints(ctx.window)
    dual, primal = second_derivative(
        lambda x, fw, fb: reference.feature_stats(x, fw, fb, ctx.variant, window),
        primals,
        [d0, d1],
        grads,
    )
    return *dual, *primal, None, None, None, None


# ---- project


def keep_operands(
    ctx: Any, features: Sequence[Tensor], gate: Sequence[Tensor], weight: Tensor
) -> None:
    """Saves the operands of a projection; of rfca's gates what they can be made from, if given."""
    ctx.again = ctx.variant == "rfca" and len(gate) > 2
    kept = gate[2:] if ctx.again else gate
    ctx.save_for_backward(*features, *kept, weight)


def gates_of(ctx: Any, x: Tensor, kept: Sequence[Tensor]) -> tuple[list[Tensor], list[None]]:
    """The gates from what was saved of them, and None for every operand that came with them.

    The gates' own node passes their gradients on; second derivatives go through this call, to what
    the gates are made from: one with respect to a gate itself would miss this part.
    """
    if not ctx.again:
        return list(kept), []
    hidden, *layers = kept
    rows = stats_shapes(x, ctx.variant, ctx.window)[0][2]
    return list(_OPS.line_gates(hidden, layers[:2], layers[2:], rows)), [None] * 5


def _project_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *features, gate, weight, _, ctx.variant, ctx.groups, ctx.window = inputs
    keep_operands(ctx, features, gate, weight)


def _project_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, feature_weight, feature_bias, *kept, weight = ctx.saved_tensors
    need_x, need_fw, need_fb, need_gate, need_weight, need_bias, *_ = ctx.needs_input_grad
    gate, others = gates_of(ctx, x, kept)
    need_gate = need_gate[: len(gate)]
    needs = [need_x, need_fw, need_fb, need_weight, any(need_gate)]
    dx, dfw, dfb, dweight, dgate = _OPS.project_backward(
        dy,
        x,
        feature_weight,
        feature_bias,
        gate,
        weight,
        ctx.variant,
        ctx.groups,
        ctx.window,
        needs,
    )
    return (
        dx if need_x else None,
        dfw if need_fw else None,
        dfb if need_fb else None,
        [g if need else None for g, need in zip(dgate, need_gate, strict=True)] + others,
        dweight if need_weight else None,
        dy.sum((0, 2, 3)) if need_bias else None,
        None,
        None,
        None,
    )


def _project_second_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    (
        dy,
        x,
        feature_weight,
        feature_bias,
        gate,
        weight,
        ctx.variant,
        ctx.groups,
        ctx.window,
        ctx.needs,
    ) = inputs
    ctx.gates = len(gate)
    ctx.save_for_backward(dy, x, feature_weight, feature_bias, *gate, weight)


def _project_second(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    dy, x, feature_weight, feature_bias, *rest = ctx.saved_tensors
    window = Window.from_ints(ctx.window)

    def function(x: Tensor, fw: Tensor, fb: Tensor, weight: Tensor, *gate: Tensor) -> Tensor:
        return reference.project(
            x, fw, fb, list(gate), weight, None, ctx.variant, ctx.groups, window
        )

    wanted: list[Tensor | None] = [
        g if n else None for g, n in zip(grads[:4], ctx.needs[:4], strict=True)
    ]
    wanted += list(grads[4]) if ctx.needs[4] else [None] * ctx.gates
    (g_dy,), (g_x, g_fw, g_fb, g_weight, *g_gate) = second_derivative(
        function, [x, feature_weight, feature_bias, rest[-1], *rest[:-1]], [dy], wanted
    )
    return g_dy, g_x, g_fw, g_fb, g_gate, g_weight, None, None, None, None


_FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "patch_moments": (_moments_backward, _moments_setup),
    "patch_moments_backward": (_moments_second, _moments_second_setup),
    "feature_stats": (_stats_backward, _stats_setup),
    "feature_stats_backward": (_stats_second, _stats_second_setup),
    "project": (_project_backward, _project_setup),
    "project_backward": (_project_second, _project_second_setup),
}

for _name in DEFINITIONS:
    _backward, _setup = _FORMULAS[_name]
    torch.library.register_autograd(f"rfaconv::{_name}", _backward, setup_context=_setup)
