"""Formulas for torch's FlopCounterMode: the products that each operation executes, two operations
each.

Importing this module registers them; :mod:`rfaconv.complexity` does, and
:func:`rfaconv.ops.tell_flop_counter` where torch's counter is imported already.

A receptive-field operator's features cost C T^2 multiply-adds per output pixel, its projection O
C/groups T. An operation that recomputes the features counts them again, as FlopCounterMode does for
recomputed convolutions; the plain backend recomputes in the same places, so evaluation counts agree
between backends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from rfaconv import ops  # noqa: F401  formulas are of what it defines
from rfaconv.geometry import Window

Shape = Sequence[int]


def _entries(x: Shape, window: Sequence[int]) -> tuple[int, int]:
    """Feature entries B C T P of an operation, and T."""
    sliding = Window.from_ints(window)
    return prod(x[:2]) * sliding.taps * prod(sliding.output_size(x[2:])), sliding.taps


def _features(x: Shape, window: Sequence[int]) -> int:
    entries, taps = _entries(x, window)
    return entries * taps


def _projection(x: Shape, weight: Shape, groups: int, window: Sequence[int]) -> int:
    entries, _ = _entries(x, window)
    return entries * weight[0] // groups


def _attention(x: Shape, variant: str, window: Sequence[int]) -> int:
    """RFA's logits, or the means they are made from."""
    return _entries(x, window)[0] if variant == "rfa" else 0


def _moments(x: Shape, window: Sequence[int], **kwargs: Any) -> int:
    return 2 * _features(x, window)


def _moments_backward(
    dmean: Shape, dcov: Shape, x: Shape, mean: Shape, window: Sequence[int], **kwargs: Any
) -> int:
    return 2 * _features(x, window)


def _stats(
    x: Shape,
    feature_weight: Shape,
    feature_bias: Shape,
    variant: str,
    window: Sequence[int],
    **kwargs: Any,
) -> int:
    return 2 * _features(x, window)


def _stats_backward(
    d0: Shape,
    d1: Shape,
    x: Shape,
    feature_weight: Shape,
    feature_bias: Shape,
    s0: Shape,
    variant: str,
    window: Sequence[int],
    **kwargs: Any,
) -> int:
    # the features again, the gradient of their weight, the gradient of x
    return 2 * 3 * _features(x, window)


def _project(
    x: Shape,
    feature_weight: Shape,
    feature_bias: Shape,
    gate: Sequence[Shape],
    weight: Shape,
    bias: Shape | None,
    variant: str,
    groups: int,
    window: Sequence[int],
    **kwargs: Any,
) -> int:
    macs = _features(x, window) + _projection(x, weight, groups, window)
    return 2 * (macs + _attention(x, variant, window))


def _project_backward(
    dy: Shape,
    x: Shape,
    feature_weight: Shape,
    feature_bias: Shape,
    gate: Sequence[Shape],
    weight: Shape,
    variant: str,
    groups: int,
    window: Sequence[int],
    needs: Sequence[bool],
    **kwargs: Any,
) -> int:
    dx, dfeature_weight, _, dweight, dgate = needs
    features, projection = _features(x, window), _projection(x, weight, groups, window)
    attention = _attention(x, variant, window)
    macs = features + attention  # recomputed for all of them
    if dx or dfeature_weight or dgate:
        macs += projection  # gradient of the panel
    macs += projection * bool(dweight) + features * bool(dfeature_weight)
    macs += (features + attention) * bool(dx) + attention * bool(dgate)
    return 2 * macs


def _pixel_gate(
    maximum: Shape, mean: Shape, weight: Shape, window: Sequence[int], **kwargs: Any
) -> int:
    return 2 * prod(maximum) * prod(weight)


def _line_hidden(
    first: Shape, second: Shape, weight: Shape, bias: Shape | None, **kwargs: Any
) -> int:
    return 2 * first[0] * prod(weight) * (first[2] + second[2])


def _line_gates(
    hidden: Shape,
    weights: Sequence[Shape],
    biases: Sequence[Shape | None],
    first: int,
    **kwargs: Any,
) -> int:
    batch, _, length = hidden
    lengths = (first, length - first)
    return 2 * batch * sum(prod(w) * part for w, part in zip(weights, lengths, strict=True))


def _channel_gate(x: Shape, reduce_weight: Shape, expand_weight: Shape, **kwargs: Any) -> int:
    return 2 * x[0] * (prod(reduce_weight) + prod(expand_weight))


def _channel_gate_backward(
    dgate: Shape, gate: Shape, mean: Shape, reduce_weight: Shape, *args: Any, **kwargs: Any
) -> int:
    return 2 * mean[0] * 5 * prod(reduce_weight)  # the hidden channels again


def _pixel_gate_backward(
    dgate: Shape, gate: Shape, maximum: Shape, mean: Shape, weight: Shape, *args: Any, **kwargs: Any
) -> int:
    return 4 * prod(maximum) * prod(weight)


def _line_hidden_backward(
    dhidden: Shape, first: Shape, second: Shape, weight: Shape, **kwargs: Any
) -> int:
    return 2 * _line_hidden(first, second, weight, None)


def _line_gates_backward(
    drows: Shape, dcols: Shape, hidden: Shape, weights: Sequence[Shape], *args: Any, **kwargs: Any
) -> int:
    # two kernels compute the gates again
    return 2 * hidden[0] * hidden[2] * prod(weights[0]) * 4


def _attend(
    x: Shape,
    feature_weight: Shape,
    feature_bias: Shape | None,
    feature_norm: Sequence[Shape | None],
    feature_eps: float,
    attention: Sequence[Shape],
    attention_bias: Sequence[Shape | None],
    attention_norm: Sequence[Shape | None],
    attention_eps: float,
    weight: Shape,
    bias: Shape | None,
    variant: str,
    groups: int,
    window: Sequence[int],
    *args: Any,
    **kwargs: Any,
) -> int:
    """What the stages would count one after the other."""
    macs = _features(x, window) + _projection(x, weight, groups, window)
    macs = 2 * (macs + _attention(x, variant, window))
    if variant == "rfa":
        return macs
    macs += 2 * _features(x, window)  # of the statistics
    sliding = Window.from_ints(window)
    out = sliding.output_size(x[2:])
    if variant == "rfcbam":
        reduce, expand, spatial = attention
        pixels = x[0], sliding.taps, *out
        return (
            macs + _channel_gate(x, reduce, expand) + _pixel_gate(pixels, pixels, spatial, window)
        )
    reduce, rows, columns = attention
    first, second = (k * n for k, n in zip(sliding.kernel, out, strict=True))
    lines = (x[0], x[1], first), (x[0], x[1], second)
    hidden = (x[0], reduce[0], first + second)
    return (
        macs + _line_hidden(*lines, reduce, None) + _line_gates(hidden, (rows, columns), (), first)
    )


def _project_linked_backward(
    dy: Shape, x: Shape, feature_weight: Shape, feature_bias: Shape, gate: Sequence[Shape],
    weight: Shape, variant: str, window: Sequence[int], *args: Any, **kwargs: Any,
) -> int:  # fmt: skip
    # the features again, the gradients of the panel and of K
    return 2 * (_features(x, window) + 2 * _projection(x, weight, 1, window))


def _stats_linked_backward(
    d0: Shape, d1: Shape, dpanel: Shape, gate: Sequence[Shape], x: Shape, feature_weight: Shape,
    feature_bias: Shape, s0: Shape, variant: str, window: Sequence[int], *args: Any, **kwargs: Any,
) -> int:  # fmt: skip
    return 2 * 3 * _features(x, window)


_FORMULAS: dict[str, Callable[..., int]] = {
    "patch_moments": _moments,
    "patch_moments_backward": _moments_backward,
    "feature_stats": _stats,
    "feature_stats_backward": _stats_backward,
    "project": _project,
    "project_backward": _project_backward,
    "project_linked_backward": _project_linked_backward,
    "feature_stats_linked_backward": _stats_linked_backward,
    "pixel_gate": _pixel_gate,
    "line_hidden": _line_hidden,
    "line_gates": _line_gates,
    "channel_gate": _channel_gate,
    "channel_gate_backward": _channel_gate_backward,
    "pixel_gate_backward": _pixel_gate_backward,
    "line_hidden_backward": _line_hidden_backward,
    "line_gates_backward": _line_gates_backward,
    "attend": _attend,
}


def _whatever_backend(formula: Callable[..., int]) -> Callable[..., int]:
    """The formula of an op, whose last argument is the name of a backend."""

    def count(*args: Any, **kwargs: Any) -> int:
        return formula(*args[:-1], **kwargs)

    return count


for _name, _formula in _FORMULAS.items():
    _operation = getattr(torch.ops.rfaconv, _name)
    if _operation not in flop_registry:
        register_flop_formula(_operation)(_whatever_backend(_formula))
