"""Inference of a layer as one call of the library, prepared once for its parameters.

The operations of :mod:`rfaconv.ops` cost their checks, the dispatcher and several crossings into
Python at every call. After a kernel has filled the caches with its own data, that is half a
millisecond and more, which a layer of a few milliseconds feels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.abi import (
    KINDS,
    AttentionStruct,
    NormStruct,
    TensorStruct,
    WindowStruct,
)
from rfaconv.backends.cpu.kernels import check_status
from rfaconv.geometry import Window
from rfaconv.ops.schema import memory_format_of

__all__ = ["Attention", "Features", "ForwardCall", "Norm"]


class Norm(NamedTuple):
    """The state of a BatchNorm in evaluation, in the order of ``rfaconv_norm``; M channels.

    Attributes:
        mean: running mean (M,).
        variance: running variance (M,).
        weight: (M,) or None for ones.
        bias: (M,) or None for zeros.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def tensors(self) -> list[Tensor]:
        """Those that there are."""
        return [t for t in self[:4] if t is not None]


class Features(NamedTuple):
    """``relu(norm(weight u))``, or ``relu(weight u + bias)`` where the norm is folded.

    Attributes:
        weight: (C * T, 1, *kernel).
        bias: (C * T,), or None with a norm.
        norm: of C * T channels, or None with a bias.
    """

    weight: Tensor
    bias: Tensor | None
    norm: Norm | None


class Attention(NamedTuple):
    """Parameters of an operator's attention, in the order of ``rfaconv_attention``.

    Attributes:
        weights: rfa: (C, T). rfcbam: squeeze (M, C), excitation (C, M). rfca: the reduction
            (M, C), rows (C, M), columns (C, M).
        biases: of the three layers of rfca, or None.
        norm: of the M channels of rfca.
        spatial: (1, 2, *kernel) of rfcbam, with any strides; the others are contiguous.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor | None] = ()
    norm: Norm | None = None
    spatial: Tensor | None = None


class ForwardCall:
    """``rfaconv_forward`` with the parameters of one layer, for inputs (B, C, H, W) in float32.

    It keeps pointers into the parameters: what is written into them is seen, and whoever keeps the
    call must drop it when a parameter goes or gets other memory.

    Args:
        variant: ``rfa``, ``rfcbam`` or ``rfca``.
        window: the sliding window.
        features: parameters of the features.
        attention: parameters of the attention.
        weight: (O, C, *kernel), with any strides.
        bias: (O,) or None.
    """

    __slots__ = (
        "_attention", "_bias", "_channels", "_features", "_kind", "_outputs", "_weight", "_window",
    )  # fmt: skip

    def __init__(
        self,
        variant: str,
        window: Window,
        features: Features,
        attention: Attention,
        weight: Tensor,
        bias: Tensor | None,
    ) -> None:
        self._kind = KINDS[variant]
        norm = None if features.norm is None else _norm_struct(features.norm)
        self._features = features.weight.data_ptr(), _pointer(features.bias), norm
        self._attention = _attention_struct(variant, attention)
        self._weight = TensorStruct(weight.data_ptr(), tuple(weight.shape), weight.stride(), 0)
        self._outputs, self._channels = weight.shape[0], weight.shape[1]
        size = (self._outputs, 1, 1, 1)
        self._bias = None if bias is None else TensorStruct(bias.data_ptr(), size, (1,) * 4, 0)
        (top, bottom), (left, right) = window.padding
        high, wide = window.extent
        self._window = (
            (window.kernel, window.stride, (top, left), window.dilation),
            (top + bottom - high, left + right - wide),
        )

    def __call__(self, x: Tensor) -> Tensor | None:
        """Returns (B, O, *out), or None where the input is not as expected."""
        shape = x.shape
        if len(shape) != 4 or shape[1] != self._channels or x.dtype is not torch.float32:
            return None
        geometry, (high, wide) = self._window
        batch, _, height, width = shape
        if batch == 0 or height + high < 0 or width + wide < 0:
            return None
        stride = geometry[1]
        out = (height + high) // stride[0] + 1, (width + wide) // stride[1] + 1
        size = (batch, self._outputs, *out)
        y = torch.empty(size, dtype=torch.float32, memory_format=memory_format_of(x))
        status = library.require().rfaconv_forward(
            TensorStruct(x.data_ptr(), shape, x.stride(), 0),
            WindowStruct(*geometry, out),
            *self._features,
            self._kind,
            self._attention,
            self._weight,
            self._bias,
            TensorStruct(y.data_ptr(), size, y.stride(), 0),
            library.threads(),
        )
        check_status(status, "forward")
        return y


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _norm_struct(norm: Norm) -> NormStruct:
    return NormStruct(*map(_pointer, norm[:4]), norm.eps)


def _attention_struct(variant: str, attention: Attention) -> AttentionStruct:
    weights = attention.weights
    size: Sequence[int] = (0, 0)
    stride: Sequence[int] = (0, 0, 0)
    if attention.spatial is not None:
        weights = *weights, attention.spatial
        size, stride = attention.spatial.shape[2:], attention.spatial.stride()[1:]
    return AttentionStruct(
        tuple(map(_pointer, weights)),
        tuple(map(_pointer, attention.biases)),
        NormStruct() if attention.norm is None else _norm_struct(attention.norm),
        0 if variant == "rfa" else weights[0].shape[0],
        tuple(size),
        tuple(stride),
    )
