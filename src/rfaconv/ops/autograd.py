"""Gradients of the operations: each forward op differentiates into its ``*_backward`` op, on every
backend alike.

Only what the backward reads is saved: never anything as large as the panel, and the input ``x`` as
the very tensor that a convolution would keep. A derivative that is itself recorded
(``create_graph=True``) is computed by the reference formulas, so derivatives of any order work, at
the speed and memory of plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.geometry import Window
from rfaconv.ops.schema import DEFINITIONS
from rfaconv.reference.features import accumulation_dtype

__all__ = ["reference_gradient"]

_OPS = torch.ops.rfaconv


def reference_gradient(
    function: Callable[..., Any],
    primals: Sequence[Tensor | None],
    cotangents: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients of the function for its primals, as operations that autograd records.

    Args:
        function: plain torch, of tensors where ``primals`` has them and None where not.
        primals: what it is called with.
        cotangents: one per result; None for a result that nothing was made from.

    Returns:
        One gradient per primal, None where it needs none.
    """
    with torch.enable_grad():
        # aliases: the history of one primal may lead back to another, which is not of this function
        own = [None if p is None else p.view_as(p) for p in primals]
        results = function(*own)
        results = results if isinstance(results, tuple) else (results,)
        pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if c is not None]
        pairs = [(r, c.to(r.dtype)) for r, c in pairs if r.requires_grad]
        wanted = [p for p in own if p is not None and p.requires_grad]
        if not pairs or not wanted:
            return [None] * len(own)
        outputs, weights = zip(*pairs, strict=True)
        found = iter(
            torch.autograd.grad(outputs, wanted, weights, create_graph=True, allow_unused=True)
        )
    return [next(found) if p is not None and p.requires_grad else None for p in own]


def _accumulated(x: Tensor, *parameters: Tensor) -> list[Tensor]:
    dtype = accumulation_dtype(x.dtype)
    return [p.to(dtype) for p in parameters]


# ---- patch_moments


def _moments_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.window, ctx.backend = inputs
    ctx.save_for_backward(x, output[0])


def _moments_backward(ctx: Any, dmean: Tensor, dcov: Tensor) -> tuple[Tensor | None, ...]:
    x, mean = ctx.saved_tensors
    if torch.is_grad_enabled():
        window = Window.from_ints(ctx.window)
        (dx,) = reference_gradient(lambda x: reference.patch_moments(x, window), [x], [dmean, dcov])
        return dx, None, None
    return _OPS.patch_moments_backward(dmean, dcov, x, mean, ctx.window, ctx.backend), None, None


# ---- feature_stats


def _stats_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, feature_weight, feature_bias, ctx.variant, ctx.window, ctx.backend = inputs
    # The maximum tells which channels receive its gradient; means need nothing of the result.
    kept = output[:1] if ctx.variant == "rfcbam" else ()
    ctx.save_for_backward(x, feature_weight, feature_bias, *kept)


def _stats_backward(ctx: Any, d0: Tensor, d1: Tensor) -> tuple[Tensor | None, ...]:
    x, feature_weight, feature_bias, *kept = ctx.saved_tensors
    if torch.is_grad_enabled():
        window = Window.from_ints(ctx.window)

        def stats(x: Tensor, fw: Tensor, fb: Tensor) -> tuple[Tensor, ...]:
            fw, fb = _accumulated(x, fw, fb)
            return reference.feature_stats(x, fw, fb, ctx.variant, window)

        grads = reference_gradient(stats, [x, feature_weight, feature_bias], [d0, d1])
        return *grads, None, None, None
    s0 = kept[0] if kept else feature_weight.new_empty((0,))
    grads = _OPS.feature_stats_backward(
        d0, d1, x, feature_weight, feature_bias, s0, ctx.variant, ctx.window, ctx.backend
    )
    return *grads, None, None, None


# ---- project


def _project_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *features, gate, weight, _, ctx.variant, ctx.groups, ctx.window, ctx.backend = inputs
    ctx.save_for_backward(*features, *gate, weight)


def _project_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, feature_weight, feature_bias, *gate, weight = ctx.saved_tensors
    need_x, need_fw, need_fb, need_gate, need_weight, need_bias, *_ = ctx.needs_input_grad
    dbias = dy.sum((0, 2, 3)) if need_bias else None
    if torch.is_grad_enabled():
        window = Window.from_ints(ctx.window)

        def project(x: Tensor, fw: Tensor, fb: Tensor, weight: Tensor, *gate: Tensor) -> Tensor:
            fw, fb, *gates = _accumulated(x, fw, fb, *gate)
            return reference.project(
                x, fw, fb, gates, weight, None, ctx.variant, ctx.groups, window
            )

        dx, dfw, dfb, dweight, *dgate = reference_gradient(
            project, [x, feature_weight, feature_bias, weight, *gate], [dy]
        )
        return dx, dfw, dfb, dgate, dweight, dbias, None, None, None, None
    needs = [need_x, need_fw, need_fb, need_weight, any(need_gate)]
    dx, dfw, dfb, dweight, dgate = _OPS.project_backward(
        dy, x, feature_weight, feature_bias, gate, weight, ctx.variant, ctx.groups, ctx.window,
        needs, ctx.backend,
    )  # fmt: skip
    return (
        dx if need_x else None,
        dfw if need_fw else None,
        dfb if need_fb else None,
        [g if need else None for g, need in zip(dgate, need_gate, strict=True)],
        dweight if need_weight else None,
        dbias,
        *(None,) * 4,
    )


_FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "patch_moments": (_moments_backward, _moments_setup),
    "feature_stats": (_stats_backward, _stats_setup),
    "project": (_project_backward, _project_setup),
}
assert {*_FORMULAS, *(f"{name}_backward" for name in _FORMULAS)} == set(DEFINITIONS)

for _name, (_backward, _setup) in _FORMULAS.items():
    torch.library.register_autograd(f"rfaconv::{_name}", _backward, setup_context=_setup)
