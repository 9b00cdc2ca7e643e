"""What an operator costs, counted as the published tables count it.

thop counts multiply-adds of convolutions and linear layers and four operations per entry of a
BatchNorm, and it counts them by module. An operator of this library is one module, and a
convolution by its class, so thop by itself sees the final convolution only: :func:`register_thop`
tells it the rest. Softmax, sigmoids and elementwise products are not counted, here or there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d
from rfaconv.ops import flops  # noqa: F401  registers the formulas of FlopCounterMode

_NORM = 4  # thop's operations per entry of an affine BatchNorm


class Cost(NamedTuple):
    """Operations of one call of a layer.

    Attributes:
        macs: multiply-adds of convolutions and linear layers.
        other: operations of BatchNorms and poolings, as thop counts them.
    """

    macs: int
    other: int

    @property
    def total(self) -> int:
        """What thop reports."""
        return self.macs + self.other


def operator_cost(module: nn.Module, input_size: Sequence[int], output_size: Sequence[int]) -> Cost:
    """Cost of a two-dimensional operator for an input and an output of these shapes.

    Args:
        module: one of the operators.
        input_size: (B, C, H, W).
        output_size: (B, O, Ho, Wo).

    Raises:
        InvalidArgument: if ``module`` is not an operator.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> operator_cost(RFAConv2d(64, 64, 3), (1, 64, 56, 56), (1, 64, 56, 56)).macs
        133668864

    Source: paper, tables of section 4.1.
    """
    kind = next((t for t in type(module).__mro__ if t in _BRANCHES), None)
    if kind is None or not isinstance(module, nn.Conv2d):
        expected = f"one of {', '.join(t.__name__ for t in _BRANCHES)}"
        raise InvalidArgument("module", expected, type(module).__name__)
    batch, _, height, width = input_size
    branch = _BRANCHES[kind](module, (height, width), tuple(output_size[2:]))
    pixels = prod(output_size[2:])
    final = (
        pixels
        * module.out_channels
        * (module.in_channels // module.groups)
        * prod(module.kernel_size)
    )
    return Cost(batch * (branch.macs + final), batch * branch.other)


Size = tuple[int, ...]


def _features(module: nn.Conv2d, out: Size) -> Cost:
    taps, pixels = prod(module.kernel_size), prod(out)
    entries = module.in_channels * taps * pixels
    norm = 0 if getattr(module, "feature_bias", None) is not None else _NORM * entries
    return Cost(entries * taps, norm)


def _rfa(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    features = _features(module, out)
    pooled = module.in_channels * prod(out)
    return Cost(features.macs + pooled * prod(module.kernel_size), features.other + pooled)


def _rfcbam(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    features = _features(module, out)
    channels, enlarged = module.in_channels, prod(module.kernel_size) * prod(out)
    hidden: int = module.se.fc1.out_features  # type: ignore[union-attr, assignment]
    spatial: int = module.spatial_weight.numel()  # type: ignore[operator]
    return Cost(
        features.macs + 2 * channels * hidden + spatial * enlarged,
        features.other + channels * (prod(size) + 1),
    )


def _coordinate(gate: nn.Module, channels: int, size: Size) -> Cost:
    hidden: int = gate.conv1.out_channels  # type: ignore[union-attr, assignment]
    length = sum(size)
    pooling = 2 * channels * prod(size) + channels * length
    return Cost(2 * channels * hidden * length, pooling + _NORM * hidden * length)


def _rfca(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    features = _features(module, out)
    enlarged = tuple(k * n for k, n in zip(module.kernel_size, out, strict=True))
    gate = _coordinate(module.attention, module.in_channels, enlarged)  # type: ignore[arg-type]
    return Cost(features.macs + gate.macs, features.other + gate.other)


def _ca(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    return _coordinate(module.attention, module.in_channels, size)  # type: ignore[arg-type]


def _cam(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    channels = module.in_channels
    hidden: int = module.attention.fc1.out_channels  # type: ignore[union-attr, assignment]
    # the two layers run for the maximum and for the mean
    return Cost(2 * 2 * channels * hidden, channels * (prod(size) + 1))


def _cbam(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    channel = _cam(module, size, out)
    spatial: int = module.attention.spatial.weight.numel()  # type: ignore[union-attr, operator]
    return Cost(channel.macs + spatial * prod(size), channel.other)


def _unfold(module: nn.Conv2d, size: Size, out: Size) -> Cost:
    taps = prod(module.kernel_size)
    entries = module.in_channels * taps * prod(out)
    return Cost(entries * taps, _NORM * entries)


_BRANCHES: Mapping[type[nn.Module], Callable[[nn.Conv2d, Size, Size], Cost]] = {
    CONVOLUTIONS["rfa"]: _rfa,
    CONVOLUTIONS["rfcbam"]: _rfcbam,
    CONVOLUTIONS["rfca"]: _rfca,
    CONVOLUTIONS["cam"]: _cam,
    CONVOLUTIONS["cbam"]: _cbam,
    CONVOLUTIONS["ca"]: _ca,
    UnfoldRFAConv2d: _unfold,
}


def count_for_thop(module: Any, inputs: Sequence[Tensor], output: Tensor) -> None:
    """Rule for thop: adds the cost of one call to ``module.total_ops``."""
    module.total_ops += operator_cost(module, inputs[0].shape, output.shape).total
    for child in module.modules():
        # a child that ran as a module counted itself; its cost is in the rule already
        if child is not module and hasattr(child, "total_ops"):
            child.total_ops -= child.total_ops


THOP_RULES: dict[type[nn.Module], Callable[..., None]] = dict.fromkeys(_BRANCHES, count_for_thop)
"""Rules for ``thop.profile(..., custom_ops=THOP_RULES)``."""


def count_for_ptflops(module: Any, inputs: Sequence[Tensor], output: Tensor) -> None:
    """Hook for ptflops: adds the multiply-adds of one call to ``module.__flops__``."""
    module.__flops__ += operator_cost(module, inputs[0].shape, output.shape).macs


PTFLOPS_HOOKS: dict[type[nn.Module], Callable[..., None]] = dict.fromkeys(
    _BRANCHES, count_for_ptflops
)
"""Hooks for ``ptflops.get_model_complexity_info(..., backend="pytorch",
custom_modules_hooks=PTFLOPS_HOOKS)``, which counts the final convolution alone without them.
torchinfo counts from the parameters by itself and cannot be told: it misses most of the features.
"""


def register_thop() -> bool:
    """Teaches thop (or ultralytics-thop) the operators, so that ultralytics' figures hold too.

    Returns:
        Whether thop is installed.

    Example:
        >>> isinstance(register_thop(), bool)
        True
    """
    if find_spec("thop") is None:
        return False
    import_module("thop.profile").register_hooks.update(THOP_RULES)
    return True
