"""RFCBAMConv: channel and spatial attention on the receptive-field feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.functional._arguments import matched
from rfaconv.functional.attend import Attention
from rfaconv.functional.field import feature_stats
from rfaconv.functional.pixel import pixel_gate
from rfaconv.nn._children import entry, is_plain, is_plain_linear
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.nn.attention import SE

torch.fx.wrap("feature_stats")
torch.fx.wrap("matched")
torch.fx.wrap("pixel_gate")


class _RFCBAMConv(ReceptiveFieldConv):
    variant: ClassVar[str] = "rfcbam"
    published_keys: ClassVar[Mapping[str, str]] = {
        "generate.0.weight": "feature_weight",
        "generate.1": "feature_norm",
        "get_weight.0.weight": "spatial_weight",
        "se.fc.0": "se.fc1",
        "se.fc.2": "se.fc2",
        # trained checkpoints carry this older name of the same layer
        "cam.fc.0": "se.fc1",
        "cam.fc.2": "se.fc2",
        "conv.0": "",
    }

    def make_attention(self, device: Any, dtype: torch.dtype | None) -> None:
        self.se = SE(self.in_channels, device=device, dtype=dtype)
        shape = (1, 2, *(3,) * self.dims)
        self.spatial_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self._reset_spatial()

    def reset_attention(self) -> None:
        self.se.reset_parameters()
        self._reset_spatial()

    def _reset_spatial(self) -> None:
        nn.init.kaiming_uniform_(self.spatial_weight, a=math.sqrt(5))

    def attention_state(self) -> Attention | None:
        se = entry(self, "se")
        if not is_plain(se, SE):
            return None
        first, second = entry(se, "fc1"), entry(se, "fc2")
        if not (is_plain_linear(first) and is_plain_linear(second)):
            return None
        spatial = entry(self, "spatial_weight")
        return Attention((entry(first, "weight"), entry(second, "weight"), spatial))

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns channel gate (B, C), of the unpadded input, and pixel gate (B, T, *out)."""
        channel = self.se(input, gate=True, backend=self.backend)
        maximum, mean = feature_stats(field)
        weight = matched("spatial_weight", self.spatial_weight, field.x)
        pixel = pixel_gate(maximum, mean, weight, self.inner_window, self.backend)
        return channel, pixel


class RFCBAMConv2d(_RFCBAMConv, nn.Conv2d):
    """CBAM on the receptive-field feature, in place of ``nn.Conv2d``.

    ``y = K (channel[b,c] * pixel[b,j,p] * f[b,c,j,p]) + bias`` with the features f of
    :class:`RFAConv2d`, ``channel = SE(x)`` with 16 hidden channels, and pixel a sigmoid of a 3x3
    convolution over maximum and mean of f over channels, the taps of a window laid side by side.
    See :func:`rfaconv.functional.rfcbam_conv`.

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
        >>> RFCBAMConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 3.3.
    """


class RFCBAMConv1d(_RFCBAMConv, nn.Conv1d):
    """:class:`RFCBAMConv2d` in one dimension: (B, C, W) to (B, O, Wo).

    Example:
        >>> RFCBAMConv1d(16, 32, 3)(torch.randn(2, 16, 9)).shape
        torch.Size([2, 32, 9])
    """

    dims: ClassVar[int] = 1


class RFCBAMConv3d(_RFCBAMConv, nn.Conv3d):
    """:class:`RFCBAMConv2d` in three dimensions: (B, C, D, H, W) to (B, O, Do, Ho, Wo).

    Example:
        >>> RFCBAMConv3d(4, 8, 3)(torch.randn(2, 4, 5, 6, 7)).shape
        torch.Size([2, 8, 5, 6, 7])
    """

    dims: ClassVar[int] = 3
