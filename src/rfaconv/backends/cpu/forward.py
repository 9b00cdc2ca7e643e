"""A whole layer in inference as one call of the library.

Every operand is checked, and its address taken, in the call that uses it: nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.abi import DTYPES, KINDS, LAYER
from rfaconv.backends.cpu.operands import check_status
from rfaconv.errors import InvalidArgument
from rfaconv.ops.schema import memory_format_of

__all__ = ["attend"]

Norm = Sequence[Tensor | None]

_FLOAT, _STRIDED = torch.float32, torch.strided
_NO_TENSOR = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_NO_NORM = (0, 0, 0, 0, 0.0)


def attend(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor | None,
    feature_norm: Norm,
    feature_eps: float,
    attention: Sequence[Tensor],
    attention_bias: Sequence[Tensor | None],
    attention_norm: Norm,
    attention_eps: float,
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
) -> Tensor:
    """The kernel of ``attend`` for float32 and bfloat16 maps (B, C, H, W)."""
    kh, kw, sh, sw, top, bottom, left, right, dh, dw = window
    shape, dtype = x.shape, x.dtype
    _check(len(shape) == 4, "input", "(B, C, H, W)", x)
    _check(dtype in DTYPES, "input", "float32 or bfloat16", dtype)
    batch, channels, height, width = shape
    rows, columns = (
        (height + top + bottom - dh * (kh - 1) - 1) // sh + 1,
        (width + left + right - dw * (kw - 1) - 1) // sw + 1,
    )
    if rows < 1 or columns < 1:
        raise InvalidArgument("input", f"a padded map larger than the window {window}", shape)
    _check(groups == 1, "groups", "1", groups)
    outputs, entries = weight.shape[0], channels * kh * kw
    operands = _Operands(dtype)
    size = (outputs, channels, kh, kw)
    first = operands.strided("input", x, shape)
    layer = operands.strided("weight", weight, size)
    offset: tuple[int, ...] = _NO_TENSOR
    if bias is not None:
        offset = operands.row("bias", bias, outputs)
    features = operands.address("feature_weight", feature_weight, (entries, 1, kh, kw))
    if feature_norm:
        shift, norm = 0, operands.norm("feature_norm", feature_norm, entries, feature_eps)
    else:
        _check(feature_bias is not None, "feature_bias", "a tensor where no norm is", None)
        assert feature_bias is not None
        shift, norm = operands.address("feature_bias", feature_bias, (entries,)), _NO_NORM
    gate = _GATES[variant](
        operands, attention, attention_bias, attention_norm, attention_eps, channels, kh * kw
    )
    size = (batch, outputs, rows, columns)
    y = torch.empty(size, dtype=dtype, memory_format=memory_format_of(x))
    if batch == 0 or outputs == 0:
        return y
    packed = LAYER.pack(
        *first, *layer, *offset,
        y.data_ptr(), *size, *y.stride(), operands.code,
        kh, kw, sh, sw, top, left, dh, dw, rows, columns,
        features, shift, *norm, *gate, KINDS[variant],
    )  # fmt: skip
    status = library.require().rfaconv_forward(packed, LAYER.size, library.threads())
    check_status(status, "forward")
    return y


class _Operands:
    """Checks operands and gives their addresses, which hold as long as this object lives: whoever
    gives a parameter other memory in another thread, as by ``.data``, does not free it here.

    All have the input's dtype; what the attention is made from is read as float32.
    """

    __slots__ = ("_dtype", "_kept", "code")

    def __init__(self, dtype: torch.dtype) -> None:
        self._kept: list[Any] = []
        self._dtype = dtype
        self.code = DTYPES[dtype]

    def address(self, name: str, value: Tensor, shape: Sequence[int], dense: bool = True) -> int:
        """Where a tensor of this shape lies; ``dense``: as contiguous float32."""
        # all in one function, since every layer runs it for each of up to 18 operands
        if (
            value.shape != shape
            or value.dtype is not self._dtype
            or value.layout is not _STRIDED
            or not value.is_cpu
        ):
            raise self._misfit(name, value, shape)
        if dense and (self._dtype is not _FLOAT or not value.is_contiguous() or value.is_neg()):
            # torch has negated what it negates when it is read, but not in lists that may hold None
            value = value.resolve_neg().to(_FLOAT).contiguous()
        storage = value.untyped_storage()
        self._kept.append(storage)
        start: int = storage.data_ptr()
        if start == 0 and value.numel() > 0:
            raise InvalidArgument(name, "a tensor with memory", "one whose storage was freed")
        return start + value.element_size() * int(value.storage_offset())

    def strided(self, name: str, value: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
        """A four-dimensional tensor with any strides as ``rfaconv_tensor``."""
        if value.is_neg():
            value = value.resolve_neg()
        return self.address(name, value, shape, False), *shape, *value.stride(), self.code

    def row(self, name: str, value: Tensor, length: int) -> tuple[int, ...]:
        """A vector as ``rfaconv_tensor``."""
        if value.is_neg():
            value = value.resolve_neg()
        start = self.address(name, value, (length,), False)
        return start, length, 1, 1, 1, value.stride(0), 1, 1, 1, self.code

    def norm(self, name: str, state: Norm, channels: int, eps: float) -> tuple[float, ...]:
        """Running mean, running variance, scale and shift as ``rfaconv_norm``."""
        _check(len(state) == 4, name, "four entries", len(state))
        _check(state[0] is not None and state[1] is not None, name, "mean and variance", state)
        found = [0 if s is None else self.address(name, s, (channels,)) for s in state]
        return *found, eps

    def _misfit(self, name: str, value: Tensor, shape: Sequence[int]) -> InvalidArgument:
        if value.shape != shape or value.dtype is not self._dtype:
            got = f"{value.dtype} of shape {tuple(value.shape)}"
            return InvalidArgument(name, f"{self._dtype} of shape {tuple(shape)}", got)
        got = f"{value.layout}, {value.device}"
        return InvalidArgument(name, "a strided tensor on the cpu", got)


def _check(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise InvalidArgument(name, expected, tuple(got.shape) if isinstance(got, Tensor) else got)


# What follows gives ``rfaconv_attention``: three weights, three biases, a norm, hidden channels,
# size and strides of the spatial weight.


def _rfa(
    operands: _Operands, weights: Sequence[Tensor], biases: Norm, norm: Norm, eps: float,
    channels: int, taps: int,
) -> tuple[float, ...]:  # fmt: skip
    _check(len(weights) == 1, "attention", "one tensor", len(weights))
    weight = operands.address("attention_weight", weights[0], (channels * taps, 1, 1, 1))
    return weight, 0, 0, 0, 0, 0, *_NO_NORM, 0, 0, 0, 0, 0, 0


def _rfcbam(
    operands: _Operands, weights: Sequence[Tensor], biases: Norm, norm: Norm, eps: float,
    channels: int, taps: int,
) -> tuple[float, ...]:  # fmt: skip
    _check(len(weights) == 3, "attention", "three tensors", len(weights))
    reduce, expand, spatial = weights
    hidden = reduce.shape[0]
    first = operands.address("se.fc1.weight", reduce, (hidden, channels))
    second = operands.address("se.fc2.weight", expand, (channels, hidden))
    fits = spatial.dim() == 4 and spatial.size(2) % 2 == 1 and spatial.size(3) % 2 == 1
    _check(fits, "spatial_weight", "(1, 2, odd, odd)", spatial)
    high, wide = spatial.shape[2:]
    third = operands.address("spatial_weight", spatial, (1, 2, high, wide))
    return first, second, third, 0, 0, 0, *_NO_NORM, hidden, high, wide, high * wide, wide, 1


def _rfca(
    operands: _Operands, weights: Sequence[Tensor], biases: Norm, norm: Norm, eps: float,
    channels: int, taps: int,
) -> tuple[float, ...]:  # fmt: skip
    fits = len(weights) == 3 and len(biases) == 3
    _check(fits, "attention", "three tensors and three biases", (len(weights), len(biases)))
    hidden = weights[0].shape[0]
    sizes = ((hidden, channels, 1, 1), (channels, hidden, 1, 1), (channels, hidden, 1, 1))
    names = ("attention.conv1", "attention.conv_h", "attention.conv_w")
    found = [
        operands.address(f"{name}.weight", weight, size)
        for name, weight, size in zip(names, weights, sizes, strict=True)
    ]
    offsets = [
        0 if value is None else operands.address(f"{name}.bias", value, size[:1])
        for name, value, size in zip(names, biases, sizes, strict=True)
    ]
    state = operands.norm("attention.bn1", norm, hidden, eps)
    return *found, *offsets, *state, hidden, 0, 0, 0, 0, 0


_GATES = {"rfa": _rfa, "rfcbam": _rfcbam, "rfca": _rfca}
