"""RFCBAM for runtimes: maxima and means per tap, no enlarged map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfaconv.export.forms.taps import TapForm, pointwise
from rfaconv.nn.rfcbam import RFCBAMConv2d
from rfaconv.reference.stats import enlarged_kernel


class RFCBAMForm(TapForm):
    """``y = K (channel * pixel_j * f_j)``.

    The 3x3 convolution over the enlarged map is one from the 2 T maps of the taps to T.
    """

    def __init__(self, layer: RFCBAMConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        kernel = enlarged_kernel(layer.spatial_weight.detach(), layer.inner_window)
        high, wide = kernel.shape[2:]
        self.spatial = nn.Conv2d(
            2 * self.taps, self.taps, (high, wide), padding=(high // 2, wide // 2), bias=False
        )
        self.spatial.weight = nn.Parameter(kernel.contiguous(), requires_grad=False)
        self.squeeze, self.excite = (
            pointwise(layer.se.fc1.weight.detach()[..., None, None]),
            pointwise(layer.se.fc2.weight.detach()[..., None, None]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, *out) of (B, C, *size)."""
        hidden = self.squeeze(x.mean((2, 3), keepdim=True)).relu()
        channel = self.excite(hidden).sigmoid()
        x = self.padded(x)
        features = [conv(x).relu() for conv in self.features]
        maps = [self._largest(f) for f in features] + [self._average(f) for f in features]
        pixel = self._parts(self.spatial(torch.cat(maps, 1)).sigmoid())
        return self.project([f * p * channel for f, p in zip(features, pixel, strict=True)])

    def _largest(self, x: Tensor) -> Tensor:
        return x.amax(1, keepdim=True)

    def _average(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)

    def _parts(self, maps: Tensor) -> Sequence[Tensor]:
        result: Sequence[Tensor] = maps.split(1, 1)
        return result
