"""RFCA for OpenVINO, which keeps maps channels last and sums such a map slowly over its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from rfaconv.export.forms.rfca import RFCAForm
from rfaconv.export.forms.taps import filled, pointwise
from rfaconv.nn.rfca import RFCAConv2d

WIDE = 128
"""From this number of channels maps are small, and the number of operations decides."""

ROWS = 16
"""Rows that one step of a column's mean sums: few are left for the slow reduction."""


def rfca_for_openvino(layer: RFCAConv2d, runtime: str) -> nn.Module:
    """The faster of the two forms for the layer's number of channels."""
    form = RFCATapForm(layer, runtime)
    return RFCALineForm(form) if form.channels >= WIDE and form.groups == 1 else form


class ColumnMeans(nn.Module):
    """Means of the columns of several maps together: (B, C, H, W) each to (B, C, 1, W).

    A depthwise convolution averages blocks of rows. Its padding of one block less one row on both
    sides covers every height.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(
            channels,
            channels,
            (ROWS, 1),
            stride=(ROWS, 1),
            padding=(ROWS - 1, 0),
            groups=channels,
            bias=False,
        )
        # means of a block, not sums: those of float16 could overflow
        self.blocks = filled(conv, torch.full_like(conv.weight, 1 / ROWS))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The mean over rows, summed over the maps."""
        blocks = self.blocks(reduce(add, maps))
        result: Tensor = blocks.sum(2, keepdim=True) / maps[0].shape[2] * ROWS
        return result


class RFCATapForm(RFCAForm):
    """RFCA tap by tap, its columns averaged by blocks of rows."""

    def __init__(self, layer: RFCAConv2d, runtime: str) -> None:
        super().__init__(layer, runtime)
        self.column_means = ColumnMeans(self.channels)

    def _column_means(self, post: Sequence[Tensor]) -> Tensor:
        result: Tensor = self.column_means(post)
        return result


class RFCALineForm(nn.Module):
    """RFCA with one map of ``kw * C`` channels for every line of the kernel, taps side by side.

    Less than half the operations of the form by taps for 3x3 kernels. The layers of the gates take
    and give all taps of a line: their weights are repeated, sums over taps are theirs.

    Args:
        form: the layer by taps; its tensors are copied.
    """

    def __init__(self, form: RFCAForm) -> None:
        super().__init__()
        self.padded = form.padded
        high, self.wide = form.kernel
        wide = self.wide
        channels = form.channels
        taps = list(form.features)
        lines = [taps[i * wide : (i + 1) * wide] for i in range(high)]
        self.features = nn.ModuleList(
            filled(
                nn.Conv2d(wide * channels, wide * channels, **form.sliding, groups=wide * channels),
                _joined(tap.weight for tap in line),
                _joined(tap.bias for tap in line),
            )
            for line in lines
        )
        self.row_hidden = pointwise(
            form.row_hidden.weight.repeat(1, wide, 1, 1), form.row_hidden.bias
        )
        self.column_hidden = pointwise(
            form.column_hidden.weight.repeat(wide, 1, 1, 1),
            _repeated(form.column_hidden, wide),
            wide,
        )
        self.row = pointwise(form.row.weight.repeat(wide, 1, 1, 1), _repeated(form.row, wide))
        self.column = pointwise(
            form.column.weight.repeat(wide, 1, 1, 1), _repeated(form.column, wide), wide
        )
        products: list[nn.Conv2d] = [k for k in form.projections if isinstance(k, nn.Conv2d)]
        self.projections = nn.ModuleList(
            pointwise(
                _joined((p.weight for p in products[i * wide : (i + 1) * wide]), 1),
                products[0].bias if i == 0 else None,
            )
            for i in range(high)
        )
        self.column_means = ColumnMeans(wide * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, *out) of (B, C, *size)."""
        x = torch.cat([self.padded(x)] * self.wide, 1)
        lines = [conv(x).relu() for conv in self.features]
        means = torch.cat([line.mean(3, keepdim=True) for line in lines], 3)
        rows = self.row(nn.functional.hardswish(self.row_hidden(means))).sigmoid().split(1, 3)
        hidden = nn.functional.hardswish(self.column_hidden(self.column_means(lines)))
        columns = self.column(hidden).sigmoid()
        gated = [line * (row * columns) for line, row in zip(lines, rows, strict=True)]
        result: Tensor = reduce(
            add, [k(line) for k, line in zip(self.projections, gated, strict=True)]
        )
        return result


def _joined(tensors: Iterable[Tensor | nn.Module | None], dim: int = 0) -> Tensor:
    return torch.cat([t for t in tensors if isinstance(t, Tensor)], dim)


def _repeated(conv: nn.Conv2d, times: int) -> Tensor | None:
    return None if conv.bias is None else conv.bias.repeat(times)
