"""What an operator is given: checked before anything is computed, then brought into form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
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

_FLOATING = (
    "a floating point dtype (quantised by rfaconv.export with dtype='int8'; in eager quantisation "
    "the layer stays out with qconfig=None)"
)
LAYOUTS = {1: "(B, C, W)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}


def fitted(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    channels: int,
    window: Window,
    groups: int = 1,
) -> Tensor:
    """The input, after a check that it fits the final convolution, and that weight and bias do.

    Args:
        x: input (B, C, *size) or (C, *size).
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        channels: C.
        window: the sliding window.
        groups: groups of the final convolution.

    Raises:
        InvalidArgument: if rank, size, channels, dtype or device do not fit.
    """
    dims = check_weight(weight, groups, channels)
    kernel = tuple(fixed_sizes(weight.shape[2:]))
    if dims != window.dims or kernel != tuple(window.kernel):
        raise InvalidArgument("weight", f"a kernel of {tuple(window.kernel)}", _shape(weight))
    if bias is not None:
        check_operand("bias", bias, weight, (fixed_size(weight.shape[0]),))
    check_input(x, channels, weight, window)
    return x


def prepare_input(x: Tensor, window: Window, padding_mode: str = "zeros") -> Tensor:
    """Casts a checked input under autocast, and pads it where zeros are not wanted.

    An input without a batch dimension becomes a batch of one; :func:`as_given` takes it back.
    With ``padding_mode`` other than ``"zeros"`` the stages after it take a window with no padding.
    """
    x, dtype = as_batch(x, window), autocast_dtype(x)
    result = x if dtype is None else x.to(dtype)
    if padding_mode == "zeros":
        return result
    amounts = [side for pair in reversed(window.padding) for side in pair]
    return F.pad(result, amounts, mode=padding_mode)


def as_batch(x: Tensor, window: Window) -> Tensor:
    """The input as a batch of one where it has no batch dimension."""
    return x.unsqueeze(0) if x.dim() == window.dims + 1 else x


def as_given(y: Tensor, x: Tensor, window: Window) -> Tensor:
    """The output without a batch dimension where the input x has none."""
    return y.squeeze(0) if x.dim() == window.dims + 1 else y


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Returns the dtype that autocast wants products of ``x`` in; None outside of autocast."""
    # torch refuses to answer for the meta device, which has no autocast
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(x.device.type):
        return None
    return torch.get_autocast_dtype(x.device.type)


def check_input(x: Tensor, channels: int, weight: Tensor, window: Window) -> None:
    """Checks the input of an operator: rank, channels, dtype, device, memory and size.

    Raises:
        InvalidArgument: naming the argument, what was expected and what came.
    """
    if tracing():  # sizes are left open; torch checks what it runs
        return
    x, autocast, freed = as_batch(x, window), autocast_dtype(x), _freed(x)
    layout, sizes = LAYOUTS[window.dims], x.shape
    if x.dim() != window.dims + 2:
        raise InvalidArgument("input", f"a {window.dims + 2}-D tensor {layout}", _shape(x))
    if sizes[1] != channels:
        raise InvalidArgument("input", f"{channels} channels in {layout}", _shape(x))
    if not x.dtype.is_floating_point:
        raise InvalidArgument("input", _FLOATING, str(x.dtype))
    if x.dtype != weight.dtype and autocast is None:
        raise InvalidArgument("input", f"the dtype of the weight, {weight.dtype}", str(x.dtype))
    if x.device != weight.device:
        raise InvalidArgument("input", f"a tensor on {weight.device}", f"one on {x.device}")
    if freed:
        raise InvalidArgument("input", "a tensor with memory", "one whose storage was freed")
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
    fits = tensor.is_floating_point() and (tensor.dtype in known or autocast_dtype(x) is not None)
    if not fits:
        expected = " or ".join(dict.fromkeys(map(str, known)))
        raise InvalidArgument(argument, expected, str(tensor.dtype))
    if _freed(tensor):
        raise InvalidArgument(argument, "a tensor with memory", "one whose storage was freed")


def matched(argument: str, weight: Tensor, x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """The weight, after a check that it has this shape, and device and dtype of the map.

    Raises:
        InvalidArgument: if it has not.
    """
    check_operand(argument, weight, x, shape)
    return weight


def check_map(argument: str, x: Tensor, window: Window) -> None:
    """Checks that a map has a batch, channels and as many sizes as the window.

    Raises:
        InvalidArgument: if it has not, is not of floating point, or has no memory.
    """
    if x.dim() != window.dims + 2:
        expected = f"a {window.dims + 2}-D tensor {LAYOUTS[window.dims]}"
        raise InvalidArgument(argument, expected, _shape(x))
    check_operand(argument, x, x)


def check_gate(
    gate: Sequence[Tensor], x: Tensor, out: Sequence[int], window: Window, variant: str
) -> None:
    """Checks the gate tensors of a variant for a map x with ``out`` windows, as the projection
    takes them.

    Raises:
        InvalidArgument: if their number or one of them does not fit.
    """
    # sizes are left open; there the ops check what they are given
    if tracing() or torch.compiler.is_compiling():
        return
    batch, channels = x.shape[:2]
    rows: list[tuple[int, ...]] = [
        (batch, channels, k * n) for k, n in zip(window.kernel, out, strict=True)
    ]
    shapes: dict[str, list[tuple[int, ...]]] = {
        "rfa": [(channels, window.taps)],
        "rfcbam": [(batch, channels), (batch, window.taps, *out)],
        "rfca": rows,
        "none": [],
    }
    if len(gate) != len(shapes[variant]):
        raise InvalidArgument("gate", f"{len(shapes[variant])} tensors", f"{len(gate)}")
    for tensor, shape in zip(gate, shapes[variant], strict=True):
        check_operand("gate", tensor, x, shape)


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
