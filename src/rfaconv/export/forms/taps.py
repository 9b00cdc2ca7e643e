"""Tap by tap: what the export forms of the receptive-field operators share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.nn._receptive_field import ReceptiveFieldConv


class TapForm(nn.Module):
    """A receptive-field layer with one depthwise convolution per tap.

    Runtimes have fast kernels for a depthwise convolution C -> C but none for C -> T C, and maps
    of one tap stay in the cache.

    Args:
        layer: a fused layer; its tensors are copied.
        runtime: the target, or ``int8``. ONNX Runtime and OpenVINO add to what a 1x1 convolution
            finds there: they get one per tap, and no concatenation, the largest map of all, is
            written. In int8 those sums would be rounded one by one.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), as of the layer.
    """

    def __init__(self, layer: ReceptiveFieldConv, runtime: str) -> None:
        super().__init__()
        assert layer.feature_bias is not None  # fused
        window = layer.window
        self.taps, self.channels = window.taps, layer.in_channels
        self.kernel = window.kernel
        self.mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inside = self.mode == "constant" and all(lo == hi for lo, hi in window.padding)
        amounts = [side for pair in reversed(window.padding) for side in pair]
        self.outer = [] if inside or not any(amounts) else amounts
        self.sliding: dict[str, Any] = {
            "kernel_size": window.kernel,
            "stride": window.stride,
            "padding": tuple(lo for lo, _ in window.padding) if inside else 0,
            "dilation": window.dilation,
        }
        weight = layer.feature_weight.detach().unflatten(0, (self.channels, self.taps))
        bias = layer.feature_bias.detach().unflatten(0, (self.channels, self.taps))
        self.features = nn.ModuleList(
            self.depthwise(weight[:, tap], bias[:, tap]) for tap in range(self.taps)
        )
        self.groups = layer.groups
        self.sums = runtime in ("onnx", "openvino")
        self.projections = nn.ModuleList(self._projections(layer))

    def depthwise(self, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
        """A convolution with the layer's window and ``weight`` (C, 1, *kernel)."""
        channels = self.channels
        conv = nn.Conv2d(channels, channels, **self.sliding, groups=channels, bias=bias is not None)
        return filled(conv, weight, bias)

    def _projections(self, layer: ReceptiveFieldConv) -> list[nn.Conv2d]:
        """``K``: one per tap, or one with its columns in the order group, tap, channel."""
        columns = layer.weight.detach().flatten(2).transpose(1, 2)
        bias = None if layer.bias is None else layer.bias.detach()
        parts = columns.split(1, 1) if self.sums else [columns]
        return [
            pointwise(part.flatten(1)[..., None, None], bias if index == 0 else None, self.groups)
            for index, part in enumerate(parts)
        ]

    def padded(self, x: Tensor) -> Tensor:
        """The padding that a convolution cannot do itself."""
        return F.pad(x, self.outer, mode=self.mode) if self.outer else x

    def project(self, panel: Sequence[Tensor]) -> Tensor:
        """``K`` times the gated features, one (B, C, *out) per tap."""
        result: Tensor
        if self.sums:
            result = reduce(add, [k(tap) for k, tap in zip(self.projections, panel, strict=True)])
            return result
        if self.groups > 1:
            parts = [tap.chunk(self.groups, 1) for tap in panel]
            panel = [part[group] for group in range(self.groups) for part in parts]
        result = self.projections[0](torch.cat(list(panel), 1))
        return result


def filled(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """The convolution with these values, which do not learn."""
    conv.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone(memory_format=torch.contiguous_format))
    return conv.requires_grad_(False)


def pointwise(weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> nn.Conv2d:
    """A 1x1 convolution with these values: ``weight`` (O, C / groups, 1, 1)."""
    conv = nn.Conv2d(weight.shape[1] * groups, len(weight), 1, groups=groups, bias=bias is not None)
    return filled(conv, weight, bias)
