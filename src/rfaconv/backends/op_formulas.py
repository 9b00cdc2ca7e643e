"""What the operations that make gates, fold BatchNorm or run a whole layer compute, in plain torch,
and inputs for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.reference import attention
from rfaconv.reference.features import accumulation_dtype

if TYPE_CHECKING:
    from rfaconv.backends.op_cases import OpCase

__all__ = ["HIDDEN", "OPS", "Op"]

Tensors = dict[str, Tensor]
BATCH, HIDDEN, OUTPUTS, SIZE = 2, 6, 21, (6, 5)


@dataclass(frozen=True)
class Op:
    """How an operation is checked.

    Attributes:
        draw: Inputs by name, float64; names that begin with ``i_`` are in the dtype of the map, all
            others in the accumulation dtype, ``m_`` in float64.
        fused: Calls the operation.
        plain: The same in plain torch, of any dtype.
        differentiable: Whether it has a gradient.
    """

    draw: Callable[[OpCase, Callable[..., Tensor]], Tensors]
    fused: Callable[[OpCase, Tensors], tuple[Tensor, ...]]
    plain: Callable[[OpCase, Tensors], tuple[Tensor, ...]]
    differentiable: bool = True


def _call(name: str, case: OpCase, *arguments: Any) -> tuple[Tensor, ...]:
    found = getattr(torch.ops.rfaconv, name)(*arguments, case.backend)
    return (found,) if isinstance(found, Tensor) else tuple(found)


# ---- gates


def _draw_channel(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c = case.channels
    return {
        "i_x": normal(BATCH, c, *SIZE) + 1, "i_reduce": normal(HIDDEN, c) / c**0.5,
        "i_expand": normal(c, HIDDEN),
    }  # fmt: skip


def _channel(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    return _call("channel_gate", case, t["i_x"], t["i_reduce"], t["i_expand"])[:1]


def _channel_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    mean = t["i_x"].mean((2, 3), dtype=accumulation_dtype(t["i_x"].dtype))
    return (attention.channel_gate(mean, t["i_reduce"], t["i_expand"]),)


def _draw_pixel(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    shape = BATCH, case.window.taps, *SIZE
    return {"maximum": normal(*shape), "mean": normal(*shape), "i_weight": normal(1, 2, 3, 3)}


def _pixel(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    return _call("pixel_gate", case, *t.values(), case.window.to_ints())


def _pixel_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    maximum, mean, weight = t.values()
    return (attention.pixel_gate(maximum, mean, weight, case.window),)


def _draw_hidden(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c = case.channels
    return {
        "first": normal(BATCH, c, 7), "second": normal(BATCH, c, 9),
        "i_weight": normal(HIDDEN, c) / c**0.5, "i_bias": normal(HIDDEN),
    }  # fmt: skip


def _hidden(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    return _call("line_hidden", case, *t.values())


def _hidden_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    return (attention.line_hidden(*t.values()),)


def _draw_lines(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c = case.channels
    return {
        "hidden": normal(BATCH, HIDDEN, 16), "i_rows": normal(c, HIDDEN),
        "i_cols": normal(c, HIDDEN), "i_bias_rows": normal(c), "i_bias_cols": normal(c),
    }  # fmt: skip


def _lines(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    hidden, *rest = t.values()
    return _call("line_gates", case, hidden, rest[:2], rest[2:], 7)


def _lines_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    hidden, *rest = t.values()
    return attention.line_gates(hidden, rest[:2], rest[2:], 7)


# ---- BatchNorm of the features


def _draw_fold(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c, t = case.channels, case.window.taps
    root = normal(c, t, t)
    return {
        "weight": normal(c, t, t), "m_mean": normal(c, t), "m_cov": root @ root.mT,
        "gamma": normal(c, t), "beta": normal(c, t),
    }  # fmt: skip


def _fold(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    return _call("fold_statistics", case, *t.values(), 1e-5)[:2]


def _fold_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    weight, mean, cov, gamma, beta = t.values()
    return tuple(reference.fold_batch_statistics(weight, mean, cov, gamma, beta, 1e-5)[:2])


def _draw_running(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c, t = case.channels, case.window.taps
    return {
        "mean": normal(c * t), "var": normal(c * t).square(), "m_mean": normal(c, t),
        "m_var": normal(c, t).square(),
    }  # fmt: skip


def _running(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    running = t["mean"].clone(), t["var"].clone()
    seen = torch.tensor(3, device=t["mean"].device)
    torch.ops.rfaconv.update_running(*running, seen, t["m_mean"], t["m_var"], 40, 0.1, case.backend)
    return (*running, seen.to(running[0].dtype))


def _running_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    new = t["m_mean"].flatten(), t["m_var"].flatten() * 40 / 39
    found = [
        (old + 0.1 * (value - old)).to(old.dtype)
        for old, value in zip((t["mean"], t["var"]), new, strict=True)
    ]
    return (*found, torch.tensor(4.0, device=found[0].device, dtype=found[0].dtype))


# ---- a layer


def _draw_layer(case: OpCase, normal: Callable[..., Tensor]) -> Tensors:
    c, t = case.channels, case.window.taps
    norm = {
        "i_mean": normal(c * t), "i_var": normal(c * t).square() + 0.5, "i_gamma": normal(c * t),
        "i_beta": normal(c * t),
    }  # fmt: skip
    shape = case.window.kernel
    found = {
        "i_x": normal(BATCH, c, *SIZE), "i_feature_weight": normal(c * t, 1, *shape) / t**0.5,
        **norm, "i_weight": normal(OUTPUTS, c, *shape) / (c * t) ** 0.5, "i_bias": normal(OUTPUTS),
    }  # fmt: skip
    if case.variant == "rfa":
        return found | {"i_a0": normal(c * t, 1, 1, 1)}
    if case.variant == "rfcbam":
        return found | {
            "i_a0": normal(HIDDEN, c) / c**0.5, "i_a1": normal(c, HIDDEN),
            "i_a2": normal(1, 2, 3, 3) / 4,
        }  # fmt: skip
    return found | {
        "i_a0": normal(HIDDEN, c, 1, 1) / c**0.5, "i_a1": normal(c, HIDDEN, 1, 1),
        "i_a2": normal(c, HIDDEN, 1, 1), "i_b0": normal(HIDDEN), "i_b1": normal(c),
        "i_b2": normal(c), "i_n0": normal(HIDDEN), "i_n1": normal(HIDDEN).square() + 0.5,
        "i_n2": normal(HIDDEN), "i_n3": normal(HIDDEN),
    }  # fmt: skip


def _named(t: Tensors, letter: str) -> list[Tensor]:
    return [value for name, value in t.items() if name[:-1] == f"i_{letter}"]


def _layer(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    norm = [t[f"i_{name}"] for name in ("mean", "var", "gamma", "beta")]
    own = _named(t, "a"), _named(t, "b"), _named(t, "n")
    return _call(
        "attend", case, t["i_x"], t["i_feature_weight"], None, norm, 1e-5, *own, 1e-5,
        t["i_weight"], t["i_bias"], case.variant, 1, case.window.to_ints(),
    )  # fmt: skip


def _layer_plain(case: OpCase, t: Tensors) -> tuple[Tensor, ...]:
    x, acc = t["i_x"], accumulation_dtype(t["i_x"].dtype)
    c, taps, window = case.channels, case.window.taps, case.window
    mean, var, gamma, beta = (
        t[f"i_{name}"].view(c, taps) for name in ("mean", "var", "gamma", "beta")
    )
    weight = t["i_feature_weight"].reshape(c, taps, taps).to(acc)
    folded, offset = reference.fold_batch_norm(weight, mean, var, gamma, beta, 1e-5)
    features = x, folded.to(acc), offset.to(acc)
    a = [value.to(acc) for value in _named(t, "a")]
    gate: Sequence[Tensor]
    if case.variant == "rfa":
        gate = [a[0].view(c, taps)]
    else:
        s0, s1 = reference.feature_stats(*features, case.variant, window)
        if case.variant == "rfcbam":
            channel = attention.channel_gate(x.mean((2, 3), dtype=acc), a[0], a[1])
            gate = [channel, attention.pixel_gate(s0, s1, a[2], window)]
        else:
            b, n = ([value.to(acc) for value in _named(t, letter)] for letter in "bn")
            hidden = attention.line_hidden(s0, s1, a[0].flatten(1), b[0])
            hidden = torch.nn.functional.batch_norm(hidden, n[0], n[1], n[2], n[3], eps=1e-5)
            weights = [w.flatten(1) for w in a[1:]]
            gate = attention.line_gates(hidden, weights, b[1:], s0.size(2))
    return (
        reference.project(*features, gate, t["i_weight"], t["i_bias"], case.variant, 1, window),
    )


OPS: dict[str, Op] = {
    "channel_gate": Op(_draw_channel, _channel, _channel_plain),
    "pixel_gate": Op(_draw_pixel, _pixel, _pixel_plain),
    "line_hidden": Op(_draw_hidden, _hidden, _hidden_plain),
    "line_gates": Op(_draw_lines, _lines, _lines_plain),
    "fold_statistics": Op(_draw_fold, _fold, _fold_plain),
    "update_running": Op(_draw_running, _running, _running_plain, differentiable=False),
    "attend": Op(_draw_layer, _layer, _layer_plain, differentiable=False),
}
"""Operation to the way in which it is checked."""
