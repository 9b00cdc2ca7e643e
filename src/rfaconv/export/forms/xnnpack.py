"""The forms for ExecuTorch: with nothing that XNNPACK leaves to its slow portable kernels.

XNNPACK takes no padded average, reciprocal, maximum or mean over one axis, or split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv.export.forms.rfa import RFAForm
from rfaconv.export.forms.rfca import RFCAForm
from rfaconv.export.forms.rfcbam import RFCBAMForm
from rfaconv.export.forms.taps import pointwise
from rfaconv.nn.rfa import RFAConv2d
from rfaconv.nn.rfcbam import RFCBAMConv2d


def slices(maps: Tensor, dim: int) -> list[Tensor]:
    """The parts of length 1, one by one."""
    return [maps.narrow(dim, index, 1) for index in range(maps.shape[dim])]


class XnnpackRFA(RFAForm):
    """RFA with a depthwise convolution for the mean, and a division."""

    one: Tensor

    def __init__(self, layer: RFAConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        weight = layer.feature_weight.new_full((self.channels, 1, *self.kernel), 1 / self.taps)
        self.mean = self.depthwise(weight)
        self.register_buffer("one", weight.new_ones(1, 1, 1, 1))

    def _inverse(self, total: Tensor) -> Tensor:
        return self.one / total


class XnnpackRFCBAM(RFCBAMForm):
    """RFCBAM with a convolution for the means over channels, and maxima of halves of them."""

    def __init__(self, layer: RFCBAMConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        weight = layer.feature_weight
        self.average = pointwise(weight.new_full((1, self.channels, 1, 1), 1 / self.channels))

    def _largest(self, x: Tensor) -> Tensor:
        while (channels := x.shape[1]) > 1:
            half = (channels + 1) // 2  # of an odd number both have the middle one
            x = torch.maximum(x.narrow(1, 0, half), x.narrow(1, channels - half, half))
        return x

    def _average(self, x: Tensor) -> Tensor:
        result: Tensor = self.average(x)
        return result

    def _parts(self, maps: Tensor) -> Sequence[Tensor]:
        return slices(maps, 1)


class XnnpackRFCA(RFCAForm):
    """RFCA with pooling for the means of rows and columns."""

    def _parts(self, lines: Tensor, dim: int) -> Sequence[Tensor]:
        return slices(lines, dim)

    def _mean(self, maps: Sequence[Tensor], dim: int) -> Tensor:
        total = reduce(add, maps)
        high, wide = total.shape[2:]
        return F.avg_pool2d(total, (high, 1) if dim == 2 else (1, wide))
