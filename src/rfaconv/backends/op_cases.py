"""Parity checks of the operations that make gates, fold BatchNorm or run a whole layer.

Those of the other operations are :mod:`rfaconv.backends.cases`; the rule that judges both is
:mod:`rfaconv.reference.parity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.geometry import Problem, Window
from rfaconv.reference import attention
from rfaconv.reference.features import accumulation_dtype
from rfaconv.reference.parity import Parity, compare

__all__ = ["OPS", "OpCase", "op_parity"]

Tensors = dict[str, Tensor]
BATCH, HIDDEN, OUTPUTS, SIZE = 2, 6, 21, (6, 5)


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


@dataclass(frozen=True)
class _Op:
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


OPS: dict[str, _Op] = {
    "channel_gate": _Op(_draw_channel, _channel, _channel_plain),
    "pixel_gate": _Op(_draw_pixel, _pixel, _pixel_plain),
    "line_hidden": _Op(_draw_hidden, _hidden, _hidden_plain),
    "line_gates": _Op(_draw_lines, _lines, _lines_plain),
    "fold_statistics": _Op(_draw_fold, _fold, _fold_plain),
    "update_running": _Op(_draw_running, _running, _running_plain, differentiable=False),
    "attend": _Op(_draw_layer, _layer, _layer_plain, differentiable=False),
}
"""Operation to the way in which it is checked."""
