"""From tensors to the structures of the C interface: operands are checked before use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.abi import DTYPES, KINDS, GateStruct, TensorStruct, WindowStruct
from rfaconv.errors import InvalidArgument
from rfaconv.ops.schema import memory_format_of

__all__ = [
    "check_status", "dense", "feature_operands", "gate_operands", "gate_struct", "kind_of",
    "new_map", "plain", "pointer", "same_dtype", "strided", "vector", "widened", "window_struct",
]  # fmt: skip


def strided(name: str, value: Tensor) -> TensorStruct:
    """A map (B, C, H, W) or a weight (O, C, kh, kw) with any strides."""
    _in_memory(name, value)
    code = DTYPES.get(value.dtype)
    if code is None:
        raise InvalidArgument(name, "float32 or bfloat16", str(value.dtype))
    if value.dim() != 4:
        raise InvalidArgument(name, "four dimensions", f"shape {tuple(value.shape)}")
    return TensorStruct(value.data_ptr(), tuple(value.shape), value.stride(), code)


def vector(name: str, value: Tensor, size: int, dtype: torch.dtype) -> TensorStruct:
    """The bias (O,), as a tensor whose later sizes are one."""
    _in_memory(name, value)
    if value.dtype != dtype or value.shape != (size,):
        raise InvalidArgument(
            name, f"{dtype} of shape ({size},)", f"{value.dtype} of shape {tuple(value.shape)}"
        )
    return TensorStruct(
        value.data_ptr(), (size, 1, 1, 1), (value.stride(0), 1, 1, 1), DTYPES[dtype]
    )


def plain(
    name: str, value: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """A small operand that goes as a bare pointer: dtype and shape checked, made contiguous where
    it is not.

    Keep the returned tensor until the call returns: it may be a copy.
    """
    if value.dtype != dtype or value.shape != shape:
        got = f"{value.dtype} of shape {tuple(value.shape)}"
        raise InvalidArgument(name, f"{dtype} of shape {tuple(shape)}", got)
    # torch has negated what it negates when it is read, but not in lists that may hold None
    return _in_memory(name, value.resolve_neg()).contiguous()


def widened(name: str, value: Tensor, shape: Sequence[int], narrow: torch.dtype) -> Tensor:
    """:func:`plain` in float32 of an operand that may also come in the dtype of the map."""
    if value.dtype == narrow:
        value = value.float()
    return plain(name, value, shape)


def _in_memory(name: str, value: Tensor) -> Tensor:
    if value.device.type != "cpu" or value.layout != torch.strided:
        raise InvalidArgument(
            name, "a strided tensor on the cpu", f"{value.layout}, {value.device}"
        )
    if value.data_ptr() == 0 and value.numel() > 0:
        raise InvalidArgument(name, "a tensor with memory", "one whose storage was freed")
    return value


def window_struct(x: Tensor, window: Sequence[int]) -> WindowStruct:
    """The window, with the output size that it has on ``x``."""
    kh, kw, sh, sw, top, bottom, left, right, dh, dw = window
    height = (x.size(2) + top + bottom - dh * (kh - 1) - 1) // sh + 1
    width = (x.size(3) + left + right - dw * (kw - 1) - 1) // sw + 1
    if min(height, width) < 1:
        raise InvalidArgument(
            "x", f"a map larger than the window {list(window)}", f"shape {tuple(x.shape)}"
        )
    return WindowStruct((kh, kw), (sh, sw), (top, left), (dh, dw), (height, width))


def kind_of(variant: str, allowed: tuple[str, ...] = tuple(KINDS)) -> int:
    """The number of a variant."""
    if variant not in allowed:
        raise InvalidArgument("variant", f"one of {', '.join(allowed)}", repr(variant))
    return KINDS[variant]


def _gate_shapes(variant: str, x: Tensor, win: WindowStruct) -> tuple[tuple[int, ...], ...]:
    batch, channels = x.size(0), x.size(1)
    (kh, kw), (height, width) = win.kernel, win.out
    if variant == "rfa":
        return ((channels, kh * kw),)
    if variant == "rfcbam":
        return (batch, channels), (batch, kh * kw, height, width)
    if variant == "rfca":
        return (batch, channels, kh * height), (batch, channels, kw * width)
    return ()


def gate_operands(
    variant: str, gate: Sequence[Tensor], x: Tensor, win: WindowStruct
) -> list[Tensor]:
    """The gate tensors of a variant, checked."""
    shapes = _gate_shapes(variant, x, win)
    if len(gate) != len(shapes):
        raise InvalidArgument("gate", f"{len(shapes)} tensors for {variant}", f"{len(gate)}")
    pairs = enumerate(zip(gate, shapes, strict=True))
    return [widened(f"gate[{i}]", g, shape, x.dtype) for i, (g, shape) in pairs]


def gate_struct(gates: Sequence[Tensor]) -> GateStruct:
    """Their addresses."""
    pointers = [g.data_ptr() for g in gates]
    return GateStruct(*pointers)


def feature_operands(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """G' and b', checked."""
    channels, taps = x.size(1), window[0] * window[1]
    return (
        widened("feature_weight", feature_weight, (channels, taps, taps), x.dtype),
        widened("feature_bias", feature_bias, (channels, taps), x.dtype),
    )


def new_map(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Memory for a map in the memory format of ``x``."""
    return torch.empty(
        x.shape if size is None else size, dtype=x.dtype, memory_format=memory_format_of(x)
    )


def dense(value: Tensor, like: Tensor) -> Tensor:
    """A gradient in the layout of its map: expanded or permuted ones are laid out first."""
    return value.contiguous(memory_format=memory_format_of(like))


def same_dtype(name: str, value: Tensor, x: Tensor) -> None:
    """Checks a dtype."""
    if value.dtype != x.dtype:
        raise InvalidArgument(name, f"the dtype of x, {x.dtype}", str(value.dtype))


def check_status(status: int, function: str) -> None:
    """Raises what a status says."""
    if status != 0:
        text = library.require().rfaconv_status_text(status).decode()
        if "memory" in text:
            raise MemoryError(f"{function}: {text}")
        raise RuntimeError(f"{function}: {text} (status {status})")


def pointer(value: Tensor | None) -> int | None:
    """The address of a tensor that has memory."""
    return None if value is None or value.numel() == 0 else value.data_ptr()
