"""RFCAConv: coordinate attention on the receptive-field feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.functional.attend import Attention
from rfaconv.functional.field import feature_stats
from rfaconv.nn._children import entry, is_plain, is_plain_pointwise, running_norm
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.nn.attention import CoordinateGate

torch.fx.wrap("feature_stats")


class _RFCAConv(ReceptiveFieldConv):
    variant: ClassVar[str] = "rfca"
    published_keys: ClassVar[Mapping[str, str]] = {
        "generate.0.weight": "feature_weight",
        "generate.1": "feature_norm",
        "conv1": "attention.conv1",
        "bn1": "attention.bn1",
        "conv_h": "attention.conv_h",
        "conv_w": "attention.conv_w",
        "conv.0": "",
    }

    def make_attention(self, device: Any, dtype: torch.dtype | None) -> None:
        self.attention = CoordinateGate(self.in_channels, self.dims, device=device, dtype=dtype)

    def reset_attention(self) -> None:
        self.attention.reset_parameters()

    def attention_state(self) -> Attention | None:
        gate = entry(self, "attention")
        if self.dims != 2 or not is_plain(gate, CoordinateGate):
            return None
        layers = [entry(gate, name) for name in ("conv1", "conv_h", "conv_w")]
        norm = running_norm(entry(gate, "bn1"))
        if norm is None or not all(map(is_plain_pointwise, layers)):
            return None
        weights, biases = ([entry(c, name) for c in layers] for name in ("weight", "bias"))
        return Attention(weights, biases, norm)

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns one gate (B, C, k_i * out_i) per spatial dimension."""
        gates: Sequence[Tensor] = self.attention(feature_stats(field), self.backend, field.x.dtype)
        return gates


class RFCAConv2d(_RFCAConv, nn.Conv2d):
    """Coordinate attention on the receptive-field feature, in place of ``nn.Conv2d``.

    ``y = K (row[b,c,kh*h + j//kw] * col[b,c,kw*w + j%kw] * f[b,c,j,(h,w)]) + bias`` with the
    features f of :class:`RFAConv2d` and gates made from the means of f over columns and rows of
    the map in which the taps of a window lie side by side. See
    :func:`rfaconv.functional.rfca_conv`.

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
        >>> RFCAConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 3.3.
    """


class RFCAConv1d(_RFCAConv, nn.Conv1d):
    """:class:`RFCAConv2d` in one dimension: (B, C, W) to (B, O, Wo).

    Example:
        >>> RFCAConv1d(16, 32, 3)(torch.randn(2, 16, 9)).shape
        torch.Size([2, 32, 9])
    """

    dims: ClassVar[int] = 1


class RFCAConv3d(_RFCAConv, nn.Conv3d):
    """:class:`RFCAConv2d` in three dimensions: (B, C, D, H, W) to (B, O, Do, Ho, Wo).

    Example:
        >>> RFCAConv3d(4, 8, 3)(torch.randn(2, 4, 5, 6, 7)).shape
        torch.Size([2, 8, 5, 6, 7])
    """

    dims: ClassVar[int] = 3
