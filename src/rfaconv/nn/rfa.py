"""RFAConv: softmax attention over the taps of each receptive field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rfaconv.functional.attend import Attention
from rfaconv.nn._children import entry
from rfaconv.nn._receptive_field import ReceptiveFieldConv


class _RFAConv(ReceptiveFieldConv):
    variant: ClassVar[str] = "rfa"
    published_keys: ClassVar[Mapping[str, str]] = {
        "get_weight.1.weight": "attention_weight",
        "generate_feature.0.weight": "feature_weight",
        "generate_feature.1": "feature_norm",
        "conv.0": "",
    }

    def make_attention(self, device: Any, dtype: torch.dtype | None) -> None:
        shape = (len(self.feature_weight), *(1,) * (self.dims + 1))
        self.attention_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_attention()

    def reset_attention(self) -> None:
        nn.init.kaiming_uniform_(self.attention_weight, a=math.sqrt(5))

    def attention_state(self) -> Attention | None:
        return Attention((entry(self, "attention_weight"),))

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns the attention weights (C, T)."""
        return (self.attention_weight.view(self.in_channels, -1),)


class RFAConv2d(_RFAConv, nn.Conv2d):
    """Receptive-field attention convolution, in place of ``nn.Conv2d``.

    ``y = K (softmax_j(w[c,j] * mean(u[c])) * relu(BatchNorm(G[c] u[c]))) + bias`` for the patch u
    under the kernel, with ``K = weight.reshape(O, -1)``. Adds ``C * (T^2 + 3 T)`` parameters for
    T taps (108 C for a 3x3 kernel). See :func:`rfaconv.functional.rfa_conv`.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: int or pair, in pixels.
        stride: int or pair, in pixels.
        padding: int, pair, ``"same"``, ``"valid"``, or None for ``dilation * (kernel - 1) // 2``.
        dilation: int or pair, in pixels.
        groups: groups of the final convolution.
        bias: whether the final convolution has a bias.
        padding_mode: as of ``nn.Conv2d``.
        eps: of the BatchNorm over the features.
        momentum: of the BatchNorm over the features.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.

    Raises:
        InvalidArgument: for an argument or an input that does not fit; it is named.

    Example:
        >>> RFAConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 3.2, equation 5.
    """


class RFAConv1d(_RFAConv, nn.Conv1d):
    """:class:`RFAConv2d` in one dimension: (B, C, W) to (B, O, Wo).

    Example:
        >>> RFAConv1d(16, 32, 3)(torch.randn(2, 16, 9)).shape
        torch.Size([2, 32, 9])
    """

    dims: ClassVar[int] = 1


class RFAConv3d(_RFAConv, nn.Conv3d):
    """:class:`RFAConv2d` in three dimensions: (B, C, D, H, W) to (B, O, Do, Ho, Wo).

    Example:
        >>> RFAConv3d(4, 8, 3)(torch.randn(2, 4, 5, 6, 7)).shape
        torch.Size([2, 8, 5, 6, 7])
    """

    dims: ClassVar[int] = 3
