"""RFCA for runtimes: means per tap, no enlarged map and no cut at a size that is not known."""

from __future__ import annotations

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

    def __init__(self, layer: RFCAConv2d) -> None:
        super().__init__(layer)
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
        lines = [reduce(add, line).mean(3, keepdim=True) / wide for line in table]
        posts = [
            reduce(add, post).mean(2, keepdim=True) / high for post in zip(*table, strict=True)
        ]
        rows = self.row(self._hidden(torch.cat(lines, 3))).sigmoid().split(1, 3)
        columns = self.column(self._hidden(torch.cat(posts, 2))).sigmoid().split(1, 2)
        return self.project(
            [f * rows[i] * columns[j] for i, line in enumerate(table) for j, f in enumerate(line)]
        )

    def _hidden(self, means: Tensor) -> Tensor:
        return nn.functional.hardswish(self.hidden(means))
