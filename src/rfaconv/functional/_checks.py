"""Checks of the arguments of the operators; each raises before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.reference.features import fixed_sizes

LAYOUTS = {1: "(B, C, W)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}


def check_input(x: Tensor, channels: int, dtype: torch.dtype, window: Window) -> None:
    """Checks rank, channels, dtype and size of the input of an operator.

    Raises:
        InvalidArgument: naming the argument, what was expected and what came.
    """
    layout, sizes = LAYOUTS[window.dims], fixed_sizes(x.shape)
    if x.dim() != window.dims + 2:
        raise InvalidArgument("input", f"a {window.dims + 2}-D tensor {layout}", _shape(x))
    if sizes[1] != channels:
        raise InvalidArgument("input", f"{channels} channels in {layout}", _shape(x))
    if not x.dtype.is_floating_point:
        raise InvalidArgument("input", "a floating point dtype", str(x.dtype))
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise InvalidArgument("input", f"the dtype of the weight, {dtype}", str(x.dtype))
    for size, (lo, hi), extent in zip(sizes[2:], window.padding, window.extent, strict=True):
        if size + lo + hi < extent:
            expected = f"a padded map at least as large as the kernel's extent {window.extent}"
            raise InvalidArgument("input", expected, f"{_shape(x)} with padding {window.padding}")


def check_weight(weight: Tensor, groups: int, channels: int | None = None) -> int:
    """Checks the final weight (O, C/groups, *kernel); returns the number of spatial dimensions.

    Raises:
        InvalidArgument: naming the argument, what was expected and what came.
    """
    dims = weight.dim() - 2
    if dims not in LAYOUTS:
        expected = "(O, C/groups, *kernel) with one, two or three kernel sizes"
        raise InvalidArgument("weight", expected, _shape(weight))
    if groups < 1 or weight.shape[0] % groups:
        expected = f"a positive divisor of the {weight.shape[0]} output channels"
        raise InvalidArgument("groups", expected, groups)
    if channels is not None and weight.shape[1] * groups != channels:
        expected = f"(O, {channels}/{groups}, *kernel) for an input of {channels} channels"
        raise InvalidArgument("weight", expected, _shape(weight))
    return dims


def check_shape(argument: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Checks a shape.

    Raises:
        InvalidArgument: if ``tensor`` has another.
    """
    if tuple(tensor.shape) != shape:
        raise InvalidArgument(argument, f"shape {shape}", _shape(tensor))


def _shape(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}"
