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
from rfaconv.backends.cpu.abi import KINDS, AttentionStruct, TensorStruct, WindowStruct
from rfaconv.backends.cpu.kernels import check_status
from rfaconv.geometry import Window
from rfaconv.ops.schema import memory_format_of

__all__ = ["Attention", "ForwardCall"]


class Attention(NamedTuple):
    """Parameters of an operator's attention, in the order of ``rfaconv_attention``.

    Attributes:
        weights: rfa: (C, T). rfcbam: squeeze (M, C), excitation (C, M). rfca: the reduction
            (M, C), rows (C, M), columns (C, M).
        biases: of the three layers of rfca, or None.
        norm: running mean, running variance, weight and bias of the BatchNorm of rfca.
        eps: of that BatchNorm.
        spatial: (1, 2, *kernel) of rfcbam, with any strides; the others are contiguous.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor | None] = ()
    norm: Sequence[Tensor | None] = ()
    eps: float = 0.0
    spatial: Tensor | None = None

    def contiguous(self) -> list[Tensor]:
        """Those that must be contiguous."""
        return [t for t in (*self.weights, *self.biases, *self.norm) if t is not None]


class ForwardCall:
    """``rfaconv_forward`` with the parameters of one layer, for inputs (B, C, H, W) in float32.

    It keeps pointers into the parameters: what is written into them is seen, and whoever keeps the
    call must drop it when a parameter goes or gets other memory.
    """

    __slots__ = (
        "_attention", "_bias", "_channels", "_features", "_kind", "_outputs", "_weight", "_window",
    )  # fmt: skip

    def __init__(
        self,
        variant: str,
        window: Window,
        features: tuple[Tensor, Tensor],
        attention: Attention,
        weight: Tensor,
        bias: Tensor | None,
    ) -> None:
        self._kind = KINDS[variant]
        self._features = features[0].data_ptr(), features[1].data_ptr()
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


def _attention_struct(variant: str, attention: Attention) -> AttentionStruct:
    def pointers(tensors: Sequence[Tensor | None]) -> tuple[int | None, ...]:
        return tuple(None if t is None else t.data_ptr() for t in tensors)

    weights = attention.weights
    size: Sequence[int] = (0, 0)
    stride: Sequence[int] = (0, 0, 0)
    if attention.spatial is not None:
        weights = *weights, attention.spatial
        size, stride = attention.spatial.shape[2:], attention.spatial.stride()[1:]
    return AttentionStruct(
        pointers(weights),
        pointers(attention.biases),
        pointers(attention.norm),
        attention.eps,
        0 if variant == "rfa" else weights[0].shape[0],
        tuple(size),
        tuple(stride),
    )
