"""The backward pass of the projection, chunk by chunk of images.

The panel, its gradient (``dA = K^T dy``) and the rows of the input's gradient exist for a chunk
only. Nothing here uses atomic operations, so results are deterministic always.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import (
    check_features,
    check_gates,
    check_operand,
    check_weight,
)
from rfaconv.backends.triton.common.launch import chunks
from rfaconv.backends.triton.common.operands import (
    Geometry,
    gate_operands,
    kernel_matrix,
    new_map,
    tables,
)
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.project.launch import part_of_gates
from rfaconv.backends.triton.scan.launch import FeatureGradients, gather
from rfaconv.backends.triton.stats.launch import GRADIENT, over_channels, over_lines
from rfaconv.ops.schema import memory_format_of

__all__ = ["project_backward", "weight_gradient"]


def project_backward(
    dy: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    variant: str,
    groups: int,
    window: Sequence[int],
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Gradients of the projection; see the schema of ``rfaconv::project_backward``."""
    need_x, need_fw, need_fb, need_weight, need_gate = needs
    check_features(x, feature_weight, feature_bias, window)
    check_gates(x, gate, variant, window)
    check_weight(x, weight, None, groups, window)
    geometry = Geometry.of(x, window)
    check_operand("dy", dy, (x.size(0), weight.size(0), *geometry.out), x)
    outputs, width = weight.size(0), geometry.taps * geometry.channels
    both = tables(feature_weight, feature_bias, variant, gate, packed=True)
    rows = both[0]
    gates = gate_operands(variant, gate, rows)
    matrix = kernel_matrix(weight).flatten(1)  # (O, T*C)
    scan = FeatureGradients(x, both[1], geometry, CODES[variant])
    dx = new_map(x, x.shape) if need_x else x.new_empty((0,))
    lines = (
        [torch.empty_like(v) for v in gates] if need_gate and variant in ("rfcbam", "rfca") else []
    )
    parts = chunks(geometry.batch, geometry.positions * width * x.element_size())
    images = parts[0][1] if parts else 0
    largest = images * geometry.positions
    d_panel = x.new_empty((largest, width))
    panel = x.new_empty((largest, width)) if need_weight else None
    du = x.new_empty((images, scan.width)) if need_x else None
    dk = x.new_empty((len(parts), outputs, width)) if need_weight else None
    for index, (first, last) in enumerate(parts):
        pixels = (last - first) * geometry.positions
        part = d_panel[:pixels]
        dy_rows = dy[first:last].permute(0, 2, 3, 1).reshape(pixels, outputs).to(x.dtype)
        torch.mm(dy_rows, matrix, out=part)
        now = part_of_gates(gates, variant, first, last)
        if variant == "rfcbam" and lines:
            pixel = lines[1][first:last]
            over_channels(x[first:last], rows, geometry, GRADIENT, now[0], part, pixel, pixel)
        elif variant == "rfca" and lines:
            found = over_lines(x[first:last], rows, geometry, GRADIENT, now, part)
            if len(parts) == 1:
                lines = list(found)
            else:
                for line, value in zip(lines, found, strict=True):
                    line[first:last] = value
        scan.run(first, last, (*now, rows), part, panel, du)
        if du is not None:
            gather(du, dx[first:last], geometry)
        if dk is not None and panel is not None:
            torch.mm(dy_rows.t(), panel[:pixels], out=dk[index])
    nothing = rows.new_empty((0,))
    of_scan = need_fw or need_fb or (need_gate and variant in ("rfa", "rfcbam"))
    dg, db, dgate = scan.joined() if of_scan else (nothing, nothing, nothing)
    return (
        dx,
        (dg if need_fw else nothing).to(feature_weight.dtype),
        (db if need_fb else nothing).to(feature_bias.dtype),
        weight.new_empty((0,)) if dk is None else weight_gradient(dk, weight),
        _gate_gradients(variant, gate, dgate, lines),
    )


def weight_gradient(dk: Tensor, weight: Tensor) -> Tensor:
    """DW (O, C, kh, kw) in the memory format of K, from the chunks' (O, T*C), summed in float32."""
    outputs, channels, kh, kw = weight.shape
    total = dk[0] if dk.size(0) == 1 else dk.sum(0, dtype=torch.float32)
    total = total.view(outputs, kh, kw, channels).permute(0, 3, 1, 2)
    format = memory_format_of(weight)
    # a copy already, but where both formats are the same thing
    return total.to(weight.dtype, memory_format=format).contiguous(memory_format=format)


def _gate_gradients(
    variant: str, gate: Sequence[Tensor], dgate: Tensor, lines: list[Tensor]
) -> list[Tensor]:
    """Of every gate in its dtype; empty where none is needed."""
    found: list[Tensor] = []
    if variant == "rfa" and dgate.numel():
        found = [dgate]
    elif variant == "rfcbam" and lines:
        found = [dgate, lines[1]]
    elif variant == "rfca":
        found = [line.transpose(1, 2) for line in lines]
    if not found:
        return [g.new_empty((0,)) for g in gate]
    return [d.to(g.dtype) for d, g in zip(found, gate, strict=True)]
