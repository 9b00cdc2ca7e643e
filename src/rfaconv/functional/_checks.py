"""Checks of the arguments of the operators; each raises before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.reference.features import (
    accumulation_dtype,
    fixed_size,
    fixed_sizes,
    functorch_active,
    tracing,
)

LAYOUTS = {1: "(B, C, W)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}


def check_input(x: Tensor, channels: int, dtype: torch.dtype | None, window: Window) -> None:
    """Checks rank, channels, dtype and size of the input of an operator.

    Without ``dtype`` any floating point does; :func:`check_dtype` compares it later.

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
    if _freed(x):
        raise InvalidArgument("input", "a tensor with memory", "one whose storage was freed")
    if dtype is not None:
        check_dtype(x, dtype)
    for size, (lo, hi), extent in zip(sizes[2:], window.padding, window.extent, strict=True):
        if size + lo + hi < extent:
            expected = f"a padded map at least as large as the kernel's extent {window.extent}"
            raise InvalidArgument("input", expected, f"{_shape(x)} with padding {window.padding}")


def check_dtype(x: Tensor, dtype: torch.dtype) -> None:
    """Checks that the input has the dtype of the weight, where autocast casts neither.

    Raises:
        InvalidArgument: naming what was expected and what came.
    """
    if x.dtype != dtype and not _autocast(x):
        raise InvalidArgument("input", f"the dtype of the weight, {dtype}", str(x.dtype))


def check_weight(weight: Tensor, groups: int, channels: int | None = None) -> int:
    """Checks the final weight (O, C/groups, *kernel); returns the number of spatial dimensions.

    Raises:
        InvalidArgument: naming the argument, what was expected and what came.
    """
    dims = weight.dim() - 2
    if dims not in LAYOUTS:
        expected = "(O, C/groups, *kernel) with one, two or three kernel sizes"
        raise InvalidArgument("weight", expected, _shape(weight))
    outputs, inputs = fixed_sizes(weight.shape[:2])
    if groups < 1 or outputs % groups:
        expected = f"a positive divisor of the {outputs} output channels"
        raise InvalidArgument("groups", expected, groups)
    if channels is not None and inputs * groups != channels:
        expected = f"(O, {channels}/{groups}, *kernel) for an input of {channels} channels"
        raise InvalidArgument("weight", expected, _shape(weight))
    return dims


def check_operand(
    argument: str,
    tensor: Tensor,
    x: Tensor,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Checks that a tensor fits the map that it is used with.

    Args:
        argument: its name.
        tensor: a weight, a bias, a gate or a statistic.
        x: what it is used with, of the same device.
        shape: that it must have; None where the caller has looked at it.
        dtype: of the map; the tensor has it or that of sums over it. That of ``x`` if None.

    Raises:
        InvalidArgument: if shape, dtype, device or layout do not fit, or if it has no memory.
    """
    if shape is not None and tuple(fixed_sizes(tensor.shape)) != tuple(shape):
        raise InvalidArgument(argument, f"shape {tuple(shape)}", _shape(tensor))
    if tensor.device != x.device:
        raise InvalidArgument(argument, f"a tensor on {x.device}", f"one on {tensor.device}")
    if tensor.layout != torch.strided:
        raise InvalidArgument(argument, "a dense tensor", str(tensor.layout))
    known = (dtype or x.dtype, accumulation_dtype(dtype or x.dtype))
    fits = tensor.is_floating_point() and (tensor.dtype in known or _autocast(x))
    if not fits:
        expected = " or ".join(dict.fromkeys(map(str, known)))
        raise InvalidArgument(argument, expected, str(tensor.dtype))
    if _freed(tensor):
        raise InvalidArgument(argument, "a tensor with memory", "one whose storage was freed")


def check_map(argument: str, x: Tensor, window: Window) -> None:
    """Checks that a map has a batch, channels and as many sizes as the window.

    Raises:
        InvalidArgument: if it has not, is not of floating point, or has no memory.
    """
    if x.dim() != window.dims + 2:
        expected = f"a {window.dims + 2}-D tensor {LAYOUTS[window.dims]}"
        raise InvalidArgument(argument, expected, _shape(x))
    check_operand(argument, x, x)


def check_final(
    weight: Tensor, bias: Tensor | None, x: Tensor, window: Window, groups: int
) -> None:
    """Checks the weight (O, C/groups, *kernel) and the bias (O,) of the final convolution.

    Raises:
        InvalidArgument: if one does not fit.
    """
    dims = check_weight(weight, groups, fixed_size(x.shape[1]))
    kernel = tuple(fixed_sizes(weight.shape[2:]))
    if dims != window.dims or kernel != tuple(window.kernel):
        raise InvalidArgument("weight", f"a kernel of {tuple(window.kernel)}", _shape(weight))
    check_operand("weight", weight, x)
    if bias is not None:
        check_operand("bias", bias, x, (fixed_size(weight.shape[0]),))


def check_pointwise(
    argument: str, weight: Tensor, x: Tensor, shape: tuple[int, int], dtype: torch.dtype | None
) -> None:
    """Checks a matrix, which may be the weight of a convolution of single pixels.

    Raises:
        InvalidArgument: if it does not fit.
    """
    sizes = tuple(fixed_sizes(weight.shape))
    if sizes != shape and sizes != (*shape, 1, 1):
        raise InvalidArgument(argument, f"shape {shape}", _shape(weight))
    check_operand(argument, weight, x, dtype=dtype)


def check_spatial(weight: Tensor, x: Tensor, dims: int) -> None:
    """Checks the weight (1, 2, *kernel) of a spatial gate.

    Raises:
        InvalidArgument: if it does not fit.
    """
    sizes = tuple(fixed_sizes(weight.shape))
    if len(sizes) != dims + 2 or sizes[:2] != (1, 2) or any(size % 2 == 0 for size in sizes[2:]):
        raise InvalidArgument("spatial_weight", "(1, 2, *kernel) of odd sizes", _shape(weight))
    if not weight.is_floating_point():
        raise InvalidArgument("spatial_weight", "a floating point dtype", str(weight.dtype))
    check_operand("spatial_weight", weight, x, dtype=weight.dtype)


def _autocast(x: Tensor) -> bool:
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def _freed(tensor: Tensor) -> bool:
    """Whether the tensor's memory was given back, as sharding and offloading do between calls."""
    if torch.compiler.is_compiling() or tracing() or functorch_active():
        return False
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta:
        return False
    return tensor.numel() > 0 and tensor.untyped_storage().nbytes() == 0


def check_shape(argument: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Checks a shape.

    Raises:
        InvalidArgument: if ``tensor`` has another.
    """
    if tuple(tensor.shape) != shape:
        raise InvalidArgument(argument, f"shape {shape}", _shape(tensor))


def _shape(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}"
