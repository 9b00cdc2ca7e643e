"""Statistics and projection of rfcbam and rfca with one backward pass from the features to x.

Apart, either backward pass makes the features and goes from their gradient to x: the row scan,
which is most of a training step. Linked, the projection leaves the panel's gradient, (pixels, T,
C), and one scan serves both. The panel's gradient is that of all images, not of a chunk, so its
size has a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common import configs, launch
from rfaconv.backends.triton.common.launch import cdiv, chunks
from rfaconv.backends.triton.common.operands import (
    Geometry,
    channels_last,
    gate_operands,
    kernel_matrix,
    new_map,
    table,
    tables,
)
from rfaconv.backends.triton.linked.kernels import link_channels
from rfaconv.backends.triton.project.backward import weight_gradient
from rfaconv.backends.triton.project.launch import part_of_gates, project
from rfaconv.backends.triton.scan.kernels import SOURCES
from rfaconv.backends.triton.scan.launch import FeatureGradients, gather
from rfaconv.backends.triton.stats.backward import shared_maxima
from rfaconv.backends.triton.stats.launch import (
    GRADIENT,
    STATISTICS,
    feature_stats,
    over_channels,
    over_lines,
)
from rfaconv.ops.linked import empty_ties, stand_ins
from rfaconv.ops.schema import stats_shapes

__all__ = [
    "feature_stats_linked",
    "feature_stats_linked_backward",
    "project_linked",
    "project_linked_backward",
    "supports",
]

WORKSPACES = 4
"""Workspaces that the gradient of the panel may take."""


def supports(x: Tensor, window: Sequence[int]) -> bool:
    """Whether the backward passes of a map can be linked."""
    geometry = Geometry.of(x, window)
    width = geometry.positions * geometry.taps * geometry.channels
    size = geometry.batch * width * x.element_size()
    return 0 < size <= WORKSPACES * launch.WORKSPACE_BYTES


def feature_stats_linked(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    channel: Tensor | None,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, ...]:
    """Statistics, ties of the maximum, and what stands for panel and gates; see the schema."""
    if channel is None:
        stats = feature_stats(x, feature_weight, feature_bias, variant, window)
        return *stats, empty_ties(x, stats[0], channel), *stand_ins(x, stats, channel, window)
    rows, shape = table(feature_weight, feature_bias), stats_shapes(x, variant, window)[0]
    top, mean = (torch.empty(shape, dtype=rows.dtype, device=x.device) for _ in range(2))
    ties = empty_ties(x, top, channel)
    over_channels(x, rows, Geometry.of(x, window), STATISTICS, top, top, top, mean, ties)
    return top, mean, ties, *stand_ins(x, (top, mean), channel, window)


def project_linked(
    panel: Tensor,
    gate0: Tensor,
    gate1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    window: Sequence[int],
) -> Tensor:
    """The projection; the first three have no numbers to read."""
    return project(x, feature_weight, feature_bias, gate, weight, bias, variant, 1, window)


def project_linked_backward(
    dy: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of the panel, of K and of the gates; see the schema."""
    geometry = Geometry.of(x, window)
    outputs, width = weight.size(0), geometry.taps * geometry.channels
    rows = table(feature_weight, feature_bias)
    gates = gate_operands(variant, gate, rows)
    matrix = kernel_matrix(weight).flatten(1)  # (O, T*C)
    parts = chunks(geometry.batch, geometry.positions * width * x.element_size())
    d_panel = x.new_empty((geometry.batch, *geometry.out, geometry.taps, geometry.channels))
    panel = x.new_empty((parts[0][1] * geometry.positions, width))
    dk = x.new_empty((len(parts), outputs, width))
    lines = [torch.empty_like(g) for g in gates]
    for index, (first, last) in enumerate(parts):
        pixels = (last - first) * geometry.positions
        part = d_panel[first:last].view(pixels, width)
        now = part_of_gates(gates, variant, first, last)
        dy_rows = dy[first:last].permute(0, 2, 3, 1).reshape(pixels, outputs).to(x.dtype)
        torch.mm(dy_rows, matrix, out=part)
        if variant == "rfcbam":
            _of_channels(x[first:last], rows, geometry, now, part, panel, lines[1][first:last])
        else:
            found = over_lines(x[first:last], rows, geometry, GRADIENT, now, part, panel)
            for line, value in zip(lines, found, strict=True):
                line[first:last] = value
        torch.mm(dy_rows.t(), panel[:pixels], out=dk[index])
    if variant == "rfcbam":
        return d_panel, weight_gradient(dk, weight), [x.new_empty((0,)), lines[1]]
    return d_panel, weight_gradient(dk, weight), [line.transpose(1, 2) for line in lines]


def _of_channels(
    x: Tensor,
    rows: Tensor,
    geometry: Geometry,
    gates: tuple[Tensor, Tensor],
    d_panel: Tensor,
    panel: Tensor,
    d_pixel: Tensor,
) -> None:
    """Fills the panel and the gradient of rfcbam's pixel gate for the images ``x``."""
    each = channels_last(x)
    config = configs.FOURS if each else configs.tile(geometry.channels)
    pixels = x.size(0) * geometry.positions
    launch.launch(
        link_channels,
        (cdiv(pixels, config.block_p),),
        x,
        {
            "p_x": x, "p_t": rows, "p_channel": gates[0], "p_pixel": gates[1], "p_da": d_panel,
            "p_panel": panel, "p_out": d_pixel, "pixels": pixels, **geometry.arguments(x),
            "EACH": each, "VECTOR": config.vector, "BLOCK_P": config.block_p,
            "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip


def feature_stats_linked_backward(
    d0: Tensor,
    d1: Tensor,
    dpanel: Tensor,
    gate: Sequence[Tensor],
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    ties: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the input, the features' parameters and the channel gate; see the schema."""
    geometry = Geometry.of(x, window)
    both = tables(feature_weight, feature_bias, packed=True)
    first_gate, second_gate = gate_operands(variant, gate, both[0])
    operands: tuple[Tensor, ...]
    if variant == "rfcbam":
        packed = shared_maxima(
            d0.contiguous(), ties, d1.contiguous(), s0.contiguous(), geometry, second_gate
        )
        operands = packed, first_gate, packed, packed
    else:
        rows, columns = (d.transpose(1, 2).contiguous() for d in (d0, d1))
        operands = rows, columns, first_gate, second_gate
    scan = FeatureGradients(x, both[1], geometry, SOURCES[variant], linked=True)
    d_panel, dx = dpanel.contiguous(), new_map(x, x.shape)
    parts = chunks(geometry.batch, scan.width * x.element_size())
    du = x.new_empty((parts[0][1], scan.width))
    for first, last in parts:
        now = [v[first:last] for v in operands]
        scan.run(first, last, now, d_panel[first:last], None, du)
        gather(du, dx[first:last], geometry)
    dg, db, dchannel = scan.joined()
    return dx, dg, db, dchannel if variant == "rfcbam" else both[0].new_empty((0,))
