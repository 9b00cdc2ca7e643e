"""Interval arithmetic over a forward pass: what values a tensor can take, whatever the input was.

A ReLU in front of a convolution makes its input non-negative, SiLU keeps it above -0.279, and so do
max pooling, concatenation and sums of such maps in their way. :class:`BoundsMode` follows these
facts through the operations of one forward pass, so that the shift of a warm start (see
:mod:`rfaconv.surgery.preserve`) is proved and not estimated wherever the network allows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary


class Interval(NamedTuple):
    """All values of a tensor lie in [low, high]."""

    low: float = -math.inf
    high: float = math.inf

    def union(self, other: Interval) -> Interval:
        """Smallest interval around both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


UNKNOWN = Interval()
_ZERO = Interval(0.0, 0.0)

Rule = Callable[["BoundsMode", tuple[Any, ...], Mapping[str, Any]], Interval]


class BoundsMode(TorchDispatchMode):
    """Dispatch mode that keeps an :class:`Interval` for every tensor computed under it.

    Example:
        >>> with torch.no_grad(), BoundsMode() as bounds:
        ...     y = torch.nn.functional.relu6(torch.randn(4)).view(2, 2)
        >>> bounds.of(y)
        Interval(low=0.0, high=6.0)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def of(self, value: object) -> Interval:
        """Returns what is known of a tensor or a number."""
        if isinstance(value, Tensor):
            known: Interval = self._known.get(value, UNKNOWN)
            return known
        if isinstance(value, bool | int | float):
            return Interval(float(value), float(value))
        return UNKNOWN

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        base = name.rstrip("_") if func._schema.is_mutable else name
        rule = _RULES.get(base)
        # Tensor.view(dtype) reads the same bits as other numbers
        reinterpreted = func._overloadname == "dtype"
        interval = UNKNOWN if rule is None or reinterpreted else rule(self, args, kwargs)
        result = func(*args, **kwargs)
        if func._schema.is_mutable:
            for written in _written(func._schema, args, kwargs):
                self._forget_storage(written)
        if interval != UNKNOWN:
            outputs = result if isinstance(result, tuple | list) else [result]
            for tensor in outputs:
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    exact = base in _EXACT
                    self._known[tensor] = interval if exact else _with_slack(interval, tensor.dtype)
        return result

    def _forget_storage(self, written: Tensor) -> None:
        storage = written.untyped_storage()._cdata
        stale = [t for t in list(self._known) if t.untyped_storage()._cdata == storage]
        for tensor in stale:
            del self._known[tensor]


def _written(schema: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        values = value if isinstance(value, tuple | list) else [value]
        found.extend(v for v in values if isinstance(v, Tensor))
    return found


def _with_slack(interval: Interval, dtype: torch.dtype) -> Interval:
    # the tensor holds rounded results: a few units in the last place around the exact bound; 0
    # stays exact
    relative = 4 * torch.finfo(dtype).eps
    low, high = interval
    if math.isfinite(low):
        low -= abs(low) * relative
    if math.isfinite(high):
        high += abs(high) * relative
    return Interval(low, high)


def _argument(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str, default: Any
) -> Any:
    return args[position] if position < len(args) else kwargs.get(name, default)


def _same(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return mode.of(args[0])


def _with_zero(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return mode.of(args[0]).union(_ZERO)


def _hull(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    tensors = [t for t in args[0] if t.numel()]
    if not tensors:
        return UNKNOWN
    result = mode.of(tensors[0])
    for tensor in tensors[1:]:
        result = result.union(mode.of(tensor))
    return result


def _fixed(low: float, high: float) -> Rule:
    return lambda mode, args, kwargs: Interval(low, high)


def _monotone(function: Callable[[float], float]) -> Rule:
    """Rule of a non-decreasing function."""

    def rule(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
        low, high = mode.of(args[0])
        return Interval(function(low), function(high))

    return rule


def _gated(minimum: float) -> Rule:
    """Rule of x times a gate in [0, 1] of x, which is at least ``minimum``: SiLU, GELU, Mish,
    Hardswish.
    """

    def rule(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
        low, high = mode.of(args[0])
        return Interval(0.0 if low >= 0 else max(minimum, low), max(high, 0.0))

    return rule


def _leaky_relu(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    slope = float(_argument(args, kwargs, 1, "negative_slope", 0.01))
    if slope < 0:
        return UNKNOWN
    low, high = mode.of(args[0])
    return Interval(low if low >= 0 else low * slope, high if high >= 0 else high * slope)


def _elu(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    alpha = float(_argument(args, kwargs, 1, "alpha", 1.0))
    scale = float(_argument(args, kwargs, 2, "scale", 1.0))
    if alpha < 0 or scale < 0:
        return UNKNOWN
    low, high = mode.of(args[0])
    return Interval(0.0 if low >= 0 else -alpha * scale, max(high * scale, 0.0))


def _clamp(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    low, high = mode.of(args[0])
    least = _argument(args, kwargs, 1, "min", None)
    most = _argument(args, kwargs, 2, "max", None)
    if isinstance(least, Tensor) or isinstance(most, Tensor):
        return UNKNOWN
    if least is not None:
        low, high = max(low, float(least)), max(high, float(least))
    if most is not None:
        low, high = min(low, float(most)), min(high, float(most))
    return Interval(low, high)


def _hardtanh(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    least = _argument(args, kwargs, 1, "min_val", -1.0)
    most = _argument(args, kwargs, 2, "max_val", 1.0)
    return _clamp(mode, (args[0], least, most), {})


def _sum_of(mode: BoundsMode, first: object, second: object, factor: object) -> Interval:
    a, b = mode.of(first), _product(mode.of(second), mode.of(factor))
    return Interval(a.low + b.low, a.high + b.high)


def _add(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return _sum_of(mode, args[0], args[1], kwargs.get("alpha", 1))


def _sub(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return _sum_of(mode, args[0], args[1], -kwargs.get("alpha", 1))


def _product(a: Interval, b: Interval) -> Interval:
    corners = [x * y if x and y else 0.0 for x in a for y in b]
    return Interval(min(corners), max(corners))


def _mul(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    if args[0] is args[1]:
        return Interval(0.0, math.inf)
    return _product(mode.of(args[0]), mode.of(args[1]))


def _div(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    divisor = args[1]
    if isinstance(divisor, Tensor) or not divisor or kwargs.get("rounding_mode") is not None:
        return UNKNOWN
    return _product(mode.of(args[0]), mode.of(1.0 / divisor))


def _pad(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return mode.of(args[0]).union(mode.of(_argument(args, kwargs, 2, "value", 0.0)))


def _copy(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    return mode.of(args[1])


def _maximum(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    a, b = mode.of(args[0]), mode.of(args[1])
    return Interval(max(a.low, b.low), max(a.high, b.high))


def _minimum(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    a, b = mode.of(args[0]), mode.of(args[1])
    return Interval(min(a.low, b.low), min(a.high, b.high))


def _convolution(mode: BoundsMode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Interval:
    # anti-aliasing filters: non-negative weights keep non-negative maps so
    x, weight, bias = args[:3]
    if bias is None and mode.of(x).low >= 0 and bool((weight >= 0).all()):
        return Interval(0.0, math.inf)
    return UNKNOWN


_NON_NEGATIVE = _fixed(0.0, math.inf)
_PROBABILITY = _fixed(0.0, 1.0)

# fmt: off
_SAME_VALUES = [
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "slice",
    "select", "split", "split_with_sizes", "unsafe_split", "unsafe_chunk", "chunk", "unbind",
    "expand", "clone", "contiguous", "alias", "detach", "lift_fresh", "unsqueeze",
    "squeeze", "flatten", "index_select", "index", "gather", "roll", "flip", "rot90",
    "pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle", "channel_shuffle", "repeat",
    "unfold", "max_pool2d_with_indices", "max_pool1d_with_indices", "max_pool3d_with_indices",
    "max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "amax", "amin",
    "upsample_nearest2d",
    "_upsample_nearest_exact2d", "upsample_nearest1d",
    "_upsample_nearest_exact1d", "upsample_nearest3d", "_upsample_nearest_exact3d",
    "reflection_pad2d", "replication_pad2d", "reflection_pad1d",
    "replication_pad1d", "reflection_pad3d", "replication_pad3d",
]
_ROUNDED_MEANS = [
    "mean", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_trilinear3d",
    "_to_copy",
]
# fmt: on

_RULES: dict[str, Rule] = {
    **dict.fromkeys([*_SAME_VALUES, *_ROUNDED_MEANS], _same),
    **dict.fromkeys(["avg_pool2d", "avg_pool1d", "avg_pool3d", "im2col"], _with_zero),
    **dict.fromkeys(["cat", "stack"], _hull),
    **dict.fromkeys(
        ["abs", "exp", "sqrt", "softplus", "square", "norm", "linalg_vector_norm"], _NON_NEGATIVE
    ),
    **dict.fromkeys(["sigmoid", "hardsigmoid", "_softmax", "softmax"], _PROBABILITY),
    "tanh": _fixed(-1.0, 1.0),
    "relu": _monotone(lambda x: max(x, 0.0)),
    "silu": _gated(-0.27846454276107374),
    "hardswish": _gated(-0.375),
    "gelu": _gated(-0.17005),
    "mish": _gated(-0.30884),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "celu": _elu,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": lambda mode, args, kwargs: _clamp(mode, (args[0], args[1]), {}),
    "clamp_max": lambda mode, args, kwargs: _clamp(mode, (args[0], None, args[1]), {}),
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "maximum": _maximum,
    "minimum": _minimum,
    "constant_pad_nd": _pad,
    "copy": _copy,
    "convolution": _convolution,
}
_EXACT = frozenset(
    [
        *_SAME_VALUES,
        *("relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "copy", "constant_pad_nd"),
        *("cat", "stack", "maximum", "minimum"),
    ]
)
