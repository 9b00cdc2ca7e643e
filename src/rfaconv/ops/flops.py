"""Formulas for torch's FlopCounterMode: the products that each operation executes, two operations
each.

A receptive-field operator's features cost C T^2 multiply-adds per output pixel, its projection O
C/groups T. An operation that recomputes the features counts them again, as FlopCounterMode does for
recomputed convolutions; the plain backend recomputes in the same places, so evaluation counts agree
between backends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from math import prod
from types import ModuleType
from typing import Any

import torch

from rfaconv.geometry import Window
from rfaconv.ops import gate_gradients, gates, linked, schema  # noqa: F401  formulas are of these

_COUNTER = "torch.utils.flop_counter"

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
    s1: Shape,
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


def _stats_linked(x: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * _features(x, args[-1])


def _stats_linked_backward(
    d0: Shape, d1: Shape, dpanel: Shape, gate: Sequence[Shape], x: Shape, *args: Any, **kwargs: Any
) -> int:
    return 2 * 3 * _features(x, args[-1])


def _project_linked(
    panel: Shape, gate0: Shape, gate1: Shape, x: Shape, feature_weight: Shape, feature_bias: Shape,
    gate: Sequence[Shape], weight: Shape, bias: Shape | None, variant: str, window: Sequence[int],
    **kwargs: Any,
) -> int:  # fmt: skip
    return 2 * (_features(x, window) + _projection(x, weight, 1, window))


def _project_linked_backward(
    dy: Shape, x: Shape, feature_weight: Shape, feature_bias: Shape, gate: Sequence[Shape],
    weight: Shape, variant: str, window: Sequence[int], **kwargs: Any,
) -> int:  # fmt: skip
    # the features again, the gradients of the panel and of K
    return 2 * (_features(x, window) + 2 * _projection(x, weight, 1, window))


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


def _coordinate_gates(
    first: Shape, second: Shape, reduce_weight: Shape, *args: Any, **kwargs: Any
) -> int:
    return 2 * _line_hidden(first, second, reduce_weight, None)


_FORMULAS: dict[str, Callable[..., int]] = {
    "patch_moments": _moments,
    "patch_moments_backward": _moments_backward,
    "feature_stats": _stats,
    "feature_stats_backward": _stats_backward,
    "project": _project,
    "project_backward": _project_backward,
    "feature_stats_linked": _stats_linked,
    "feature_stats_linked_backward": _stats_linked_backward,
    "project_linked": _project_linked,
    "project_linked_backward": _project_linked_backward,
    "pixel_gate": _pixel_gate,
    "line_hidden": _line_hidden,
    "line_gates": _line_gates,
    "channel_gate": _channel_gate,
    "channel_gate_backward": _channel_gate_backward,
    "pixel_gate_backward": _pixel_gate_backward,
    "line_hidden_backward": _line_hidden_backward,
    "line_gates_backward": _line_gates_backward,
    "coordinate_gates": _coordinate_gates,
}


def register() -> None:
    """Adds the formulas to torch's registry."""
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    for name, formula in _FORMULAS.items():
        operation = getattr(torch.ops.rfaconv, name)
        if operation not in flop_registry:
            register_flop_formula(operation)(formula)


class _RegisterAfter(Loader):
    """Runs a module as ``loader`` would, then registers."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        register()


class _CounterFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisterAfter(spec.loader)
        return spec


# torch's counter imports Triton, which an import of this library must not: wait for others to do so
if _COUNTER in sys.modules:
    register()
else:
    sys.meta_path.insert(0, _CounterFinder())
