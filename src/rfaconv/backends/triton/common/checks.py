"""Every operand is checked in the call that uses it: kernels take addresses and trust sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window

__all__ = ["check_features", "check_gates", "check_map", "check_operand", "check_weight"]


def check_operand(name: str, value: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """Returns the operand.

    Raises:
        InvalidArgument: if it is not of this shape, or not in memory where ``like`` is.
    """
    if value.shape != tuple(shape):
        raise InvalidArgument(name, f"shape {tuple(shape)}", tuple(value.shape))
    if value.device != like.device or value.layout != torch.strided:
        expected = f"a strided tensor on {like.device}"
        raise InvalidArgument(name, expected, f"{value.layout} on {value.device}")
    if not value.is_floating_point():
        raise InvalidArgument(name, "a floating point dtype", str(value.dtype))
    if value.numel() > 0 and value.untyped_storage().nbytes() == 0:
        raise InvalidArgument(name, "a tensor with memory", "one whose storage was freed")
    return value


def check_map(x: Tensor, window: Sequence[int]) -> None:
    """Checks that the map is (B, C, H, W), larger than the window with its padding, and that the
    lines of one row of windows do with addresses of 32 bits, as ``columns.store_columns`` has them.
    """
    if x.dim() != 4:
        raise InvalidArgument("x", "(B, C, H, W)", tuple(x.shape))
    check_operand("x", x, x.shape, x)
    if min(Window.from_ints(window).output_size(x.shape[2:])) < 1:
        raise InvalidArgument("x", f"a map larger than the window {list(window)}", tuple(x.shape))
    if window[0] * x.size(1) * x.size(3) >= 2**31:
        expected = f"C * W below 2**31 / {window[0]}, the height of the window"
        raise InvalidArgument("x", expected, tuple(x.shape))


def check_features(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Sequence[int]
) -> None:
    """Checks the map and the parameters G' (C, T, T) and b' (C, T) of the features."""
    check_map(x, window)
    channels, taps = x.size(1), window[0] * window[1]
    check_operand("feature_weight", feature_weight, (channels, taps, taps), x)
    check_operand("feature_bias", feature_bias, (channels, taps), x)


def check_gates(x: Tensor, gate: Sequence[Tensor], variant: str, window: Sequence[int]) -> None:
    """Checks the tensors of a gate."""
    win = Window.from_ints(window)
    (batch, channels), (kh, kw) = x.shape[:2], win.kernel
    height, width = win.output_size((x.size(2), x.size(3)))
    shapes: dict[str, list[tuple[int, ...]]] = {
        "none": [],
        "rfa": [(channels, win.taps)],
        "rfcbam": [(batch, channels), (batch, win.taps, height, width)],
        "rfca": [(batch, channels, kh * height), (batch, channels, kw * width)],
    }
    if variant not in shapes:
        raise InvalidArgument("variant", f"one of {', '.join(shapes)}", repr(variant))
    if len(gate) != len(shapes[variant]):
        expected = f"{len(shapes[variant])} tensors for {variant}"
        raise InvalidArgument("gate", expected, len(gate))
    for index, (value, shape) in enumerate(zip(gate, shapes[variant], strict=True)):
        check_operand(f"gate[{index}]", value, shape, x)


def check_weight(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, window: Sequence[int]
) -> None:
    """Checks K (O, C, kh, kw) and the bias (O,), both in the dtype of the map."""
    if groups != 1:
        raise InvalidArgument("groups", "1", groups)
    check_operand("weight", weight, (*weight.shape[:1], x.size(1), *window[:2]), x)
    if bias is not None:
        check_operand("bias", bias, weight.shape[:1], x)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.dtype != x.dtype:
            raise InvalidArgument(name, f"the dtype of x, {x.dtype}", str(value.dtype))
