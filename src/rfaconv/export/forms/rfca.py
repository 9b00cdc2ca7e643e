"""RFCA for runtimes: means per tap, no enlarged map and no cut at a size that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.export.forms.taps import TapForm, pointwise
from rfaconv.nn.rfca import RFCAConv2d


class RFCAForm(TapForm):
    """``y = K (row_(j // kw) * col_(j % kw) * f_j)``.

    The attention is pointwise along rows and columns: the rows of the enlarged map need not lie
    beside each other, and the shared first layer runs on rows and on columns for itself.
    """

    def __init__(self, layer: RFCAConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        # ONNX Runtime leaves its blocked layout for every addition, not for a mean; in OpenVINO a
        # map's row means are taken while it is in the cache
        self.add_means = runtime in ("onnx", "openvino", "int8")
        gate: Any = layer.attention
        hidden = nn.utils.fuse_conv_bn_eval(gate.conv1.eval(), gate.bn1.eval())
        high, wide = self.kernel
        # ONNX Runtime divides lines (C, H, 1) slower than it sums the maps
        self.row_hidden = pointwise(hidden.weight.detach() / wide, hidden.bias)
        self.column_hidden = pointwise(hidden.weight.detach() / high, hidden.bias)
        self.row, self.column = gate.conv_h, gate.conv_w

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, *out) of (B, C, *size)."""
        x = self.padded(x)
        features = [conv(x).relu() for conv in self.features]
        high, wide = self.kernel
        table = [features[i * wide : (i + 1) * wide] for i in range(high)]
        lines = torch.cat([self._row_means(line) for line in table], 3)
        posts = torch.cat([self._column_means(post) for post in zip(*table, strict=True)], 2)
        rows = self._parts(self.row(F.hardswish(self.row_hidden(lines))).sigmoid(), 3)
        columns = self._parts(self.column(F.hardswish(self.column_hidden(posts))).sigmoid(), 2)
        return self.project(
            [f * (rows[i] * columns[j]) for i, line in enumerate(table) for j, f in enumerate(line)]
        )

    def _parts(self, lines: Tensor, dim: int) -> Sequence[Tensor]:
        result: Sequence[Tensor] = lines.split(1, dim)
        return result

    def _row_means(self, line: Sequence[Tensor]) -> Tensor:
        return self._mean(line, 3)

    def _column_means(self, post: Sequence[Tensor]) -> Tensor:
        return self._mean(post, 2)

    def _mean(self, maps: Sequence[Tensor], dim: int) -> Tensor:
        """Mean over one dimension, sum over the maps."""
        if self.add_means:
            return reduce(add, [m.mean(dim, keepdim=True) for m in maps])
        return reduce(add, maps).mean(dim, keepdim=True)
