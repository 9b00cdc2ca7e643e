"""RFA for runtimes: the softmax written out, so that nothing needs an axis of taps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.export.forms.taps import TapForm
from rfaconv.nn.rfa import RFAConv2d


class RFAForm(TapForm):
    """``y = K (softmax_j(w_j m) * f_j)``, ``m`` the mean of the patch.

    The largest logit has the largest weight where the mean is positive, else the smallest.
    """

    low: Tensor
    """Minus the smallest weight: OpenVINO negates a map again for every subtraction of it."""
    high: Tensor
    """Minus the largest weight."""

    def __init__(self, layer: RFAConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        self.openvino, self.negative = runtime == "openvino", runtime in ("onnx", "int8")
        weight = layer.attention_weight.detach().view(self.channels, self.taps)
        if self.negative:
            weight = -weight
        shape = (self.channels, 1, 1)
        for tap in range(self.taps):
            self.register_buffer(f"weight_{tap}", weight[:, tap].reshape(shape).clone())
        self.register_buffer("low", -weight.amin(1).view(shape))
        self.register_buffer("high", -weight.amax(1).view(shape))
        window: Any = layer.window  # torch wants pairs by type
        self.mean: nn.Module
        if all(d == 1 for d in window.dilation):
            self.mean = nn.AvgPool2d(window.kernel, window.stride, self.sliding["padding"])
        else:
            like = layer.feature_weight
            ones = like.new_full((self.channels, 1, *window.kernel), 1 / self.taps)
            self.mean = self.depthwise(ones)

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, *out) of (B, C, *size)."""
        x = self.padded(x)
        mean = self.mean(x)
        if self.negative:
            # a mean in ONNX Runtime's blocked layout is multiplied by convolutions there, and
            # every product is copied back for its exponential; a negation leaves that layout once
            mean = -mean
        shift = torch.minimum(mean * self.low, mean * self.high)
        powers = [
            torch.exp(mean * self.get_buffer(f"weight_{tap}") + shift) for tap in range(self.taps)
        ]
        total = powers[0]
        for power in powers[1:]:
            total = total + power
        scale = self._inverse(total)
        if self.openvino:
            # else OpenVINO divides every tap by the total: nine reciprocals for one
            scale = scale.abs()
        return self.project(
            [
                conv(x).relu() * power * scale
                for conv, power in zip(self.features, powers, strict=True)
            ]
        )

    def _inverse(self, total: Tensor) -> Tensor:
        return total.reciprocal()
