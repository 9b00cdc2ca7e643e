"""RFCA for runtimes: means per tap, no enlarged map and no cut at a size that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.export.forms.taps import TapForm
from rfaconv.nn.rfca import RFCAConv2d


class RFCAForm(TapForm):
    """``y = K (row_(j // kw) * col_(j % kw) * f_j)``.

    The attention is pointwise along rows and columns: the rows of the enlarged map need not lie
    beside each other, and the shared first layer runs on rows and on columns for itself.
    """

    def __init__(self, layer: RFCAConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        # ONNX Runtime leaves its blocked layout for every addition, not for a mean
        self.add_means = runtime == "onnx"
        gate: Any = layer.attention
        hidden = nn.utils.fuse_conv_bn_eval(gate.conv1.eval(), gate.bn1.eval())
        self.hidden = hidden.requires_grad_(False)
        self.row, self.column = gate.conv_h, gate.conv_w

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, *out) of (B, C, *size)."""
        x = self.padded(x)
        features = [conv(x).relu() for conv in self.features]
        high, wide = self.kernel
        table = [features[i * wide : (i + 1) * wide] for i in range(high)]
        lines = [self._row_means(line) for line in table]
        posts = [self._column_means(post) for post in zip(*table, strict=True)]
        rows = self.row(self._hidden(torch.cat(lines, 3))).sigmoid().split(1, 3)
        columns = self.column(self._hidden(torch.cat(posts, 2))).sigmoid().split(1, 2)
        return self.project(
            [f * (rows[i] * columns[j]) for i, line in enumerate(table) for j, f in enumerate(line)]
        )

    def _row_means(self, line: Sequence[Tensor]) -> Tensor:
        return self._mean(line, 3)

    def _column_means(self, post: Sequence[Tensor]) -> Tensor:
        return self._mean(post, 2)

    def _mean(self, maps: Sequence[Tensor], dim: int) -> Tensor:
        """Mean over the maps and one dimension."""
        if self.add_means:
            return reduce(add, [m.mean(dim, keepdim=True) for m in maps]) / len(maps)
        return reduce(add, maps).mean(dim, keepdim=True) / len(maps)

    def _hidden(self, means: Tensor) -> Tensor:
        return nn.functional.hardswish(self.hidden(means))
