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

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.checks import (
    check_features,
    check_gates,
    check_operand,
    check_weight,
)
from rfaconv.backends.triton.common.launch import cdiv, chunks, launch
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
from rfaconv.backends.triton.project.launch import part_of_gates
from rfaconv.backends.triton.scan.kernels import SOURCES
from rfaconv.backends.triton.scan.launch import FeatureGradients, gather
from rfaconv.backends.triton.stats.backward import shared_maxima
from rfaconv.backends.triton.stats.launch import GRADIENT, TIES, over_channels, over_lines
from rfaconv.ops.schema import stats_shapes

__all__ = ["feature_stats_linked_backward", "project_linked_backward"]


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
    check_features(x, feature_weight, feature_bias, window)
    check_gates(x, gate, variant, window)
    check_weight(x, weight, None, 1, window)
    geometry = Geometry.of(x, window)
    check_operand("dy", dy, (x.size(0), weight.size(0), *geometry.out), x)
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
        own = [x.new_empty((0,)), lines[1].to(gate[1].dtype)]
    else:
        own = [v.transpose(1, 2).to(g.dtype) for v, g in zip(lines, gate, strict=True)]
    return d_panel, weight_gradient(dk, weight), own


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
    # with an odd number of eights loads are narrower, and it spills
    each = channels_last(x) and geometry.channels % 16 == 0
    config = configs.FOURS if each else configs.tile(geometry.channels)
    pixels = x.size(0) * geometry.positions
    launch(
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
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the input, the features' parameters and the channel gate; see the schema."""
    check_features(x, feature_weight, feature_bias, window)
    check_gates(x, gate, variant, window)
    for name, value, shape in zip(
        ("d0", "d1"), (d0, d1), stats_shapes(x, variant, window), strict=True
    ):
        check_operand(name, value, shape, x)
    geometry = Geometry.of(x, window)
    size = (x.size(0), *geometry.out, geometry.taps, geometry.channels)
    check_operand("dpanel", dpanel, size, x)
    both = tables(feature_weight, feature_bias, packed=True)
    first_gate, second_gate = gate_operands(variant, gate, both[0])
    operands: tuple[Tensor, ...]
    if variant == "rfcbam":
        top = check_operand("s0", s0, d0.shape, x).contiguous()
        ties = torch.empty_like(top)
        over_channels(x, both[0], geometry, TIES, top, top, ties, ties)
        packed = shared_maxima(d0.contiguous(), ties, d1.contiguous(), top, geometry, second_gate)
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
    dg, db = dg.to(feature_weight.dtype), db.to(feature_bias.dtype)
    if variant == "rfcbam":
        return dx, dg, db, dchannel.to(gate[0].dtype)
    return dx, dg, db, gate[0].new_empty((0,))
