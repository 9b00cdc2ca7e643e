"""Backward passes of the projection and of the statistics, chunk by chunk of images.

The panel, its gradient (``dA = K^T dy``) and the patches' gradients exist for a chunk only. Nothing
here uses atomic operations, so results are deterministic always.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.backward_kernels import SOURCES
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.gradients import feature_gradients_of, joint
from rfaconv.backends.triton.launch import cdiv, chunks, launch
from rfaconv.backends.triton.maxima_kernels import share_maxima
from rfaconv.backends.triton.operands import (
    Geometry,
    gate_operands,
    kernel_matrix,
    new_map,
    power_of_two,
    tables,
)
from rfaconv.backends.triton.project import part_of_gates
from rfaconv.backends.triton.stats import GRADIENT, TIES, over_channels, over_lines
from rfaconv.ops.schema import memory_format_of

__all__ = ["feature_stats_backward", "project_backward", "shared_maxima", "weight_gradient"]


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
    geometry = Geometry.of(x, window)
    outputs, width = weight.size(0), geometry.taps * geometry.channels
    both = tables(feature_weight, feature_bias, variant, gate, quads=joint(geometry))
    rows = both[0]
    gates = gate_operands(variant, gate, rows)
    matrix = kernel_matrix(weight).flatten(1)  # (O, T*C)
    walk = feature_gradients_of(x, both, geometry, CODES[variant])
    dx = new_map(x, x.shape) if need_x else x.new_empty((0,))
    lines = (
        [torch.empty_like(v) for v in gates] if need_gate and variant in ("rfcbam", "rfca") else []
    )
    parts = chunks(geometry.batch, geometry.positions * width * x.element_size())
    images = parts[0][1] if parts else 0
    largest = images * geometry.positions
    d_panel = x.new_empty((largest, width))
    panel = x.new_empty((largest, width)) if need_weight else None
    du = x.new_empty((images, walk.width)) if need_x else None
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
        walk.run(first, last, (*now, rows), part, panel, du)
        if du is not None:
            walk.gather(du, dx[first:last])
        if dk is not None and panel is not None:
            torch.mm(dy_rows.t(), panel[:pixels], out=dk[index])
    nothing = rows.new_empty((0,))
    of_walk = need_fw or need_fb or (need_gate and variant in ("rfa", "rfcbam"))
    dg, db, dgate = walk.joined() if of_walk else (nothing, nothing, nothing)
    return (
        dx,
        dg if need_fw else nothing,
        db if need_fb else rows.new_empty((0,)),
        weight.new_empty((0,)) if dk is None else weight_gradient(dk, weight),
        _gate_gradients(variant, dgate, lines) if need_gate else [v.new_empty((0,)) for v in gate],
    )


def weight_gradient(dk: Tensor, weight: Tensor) -> Tensor:
    """DW (O, C, kh, kw) in the memory format of K, from the chunks' (O, T*C), summed in float32."""
    outputs, channels, kh, kw = weight.shape
    total = dk[0] if dk.size(0) == 1 else dk.sum(0, dtype=torch.float32)
    total = total.view(outputs, kh, kw, channels).permute(0, 3, 1, 2)
    format = memory_format_of(weight)
    # a copy already, but where both formats are the same thing
    return total.to(weight.dtype, memory_format=format).contiguous(memory_format=format)


def _gate_gradients(variant: str, dgate: Tensor, lines: list[Tensor]) -> list[Tensor]:
    if variant == "rfa":
        return [dgate]
    if variant == "rfcbam":
        return [dgate, lines[1]]
    if variant == "rfca":
        return [line.transpose(1, 2) for line in lines]
    return []


def feature_stats_backward(
    d0: Tensor,
    d1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    s1: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the statistics; see the schema of ``rfaconv::feature_stats_backward``."""
    geometry = Geometry.of(x, window)
    both = tables(feature_weight, feature_bias, quads=joint(geometry))
    rows = both[0]
    if variant == "rfcbam":
        top = s0.contiguous()
        ties = torch.empty_like(top)
        over_channels(x, rows, geometry, TIES, top, top, ties, ties)
        operands = shared_maxima(d0.contiguous(), ties, d1.contiguous(), top, geometry)
    else:
        operands = (d0.transpose(1, 2).contiguous(), d1.transpose(1, 2).contiguous(), rows)
    walk = feature_gradients_of(x, both, geometry, SOURCES[variant])
    dx = new_map(x, x.shape)
    parts = chunks(geometry.batch, walk.width * x.element_size())
    du = x.new_empty((parts[0][1] if parts else 0, walk.width))
    for first, last in parts:
        third = operands[2][first:last] if variant == "rfcbam" else rows
        now = (operands[0][first:last], operands[1][first:last], third)
        walk.run(first, last, now, du, None, du)
        walk.gather(du, dx[first:last])
    return dx, *walk.joined()[:2]


def shared_maxima(
    dtop: Tensor,
    ties: Tensor,
    dmean: Tensor,
    top: Tensor,
    geometry: Geometry,
    pixel: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What the gradient of the features is made from: the quads of a walk, with the pixel gate if
    given, or three maps.

    Equal maxima share their gradient; one of zero has none to give, relu'(0) = 0.
    """
    if not joint(geometry):
        # where no channel has the maximum, which is NaN, none takes what is divided by zero here
        return dtop / ties, dmean, top
    batch, taps, *_ = top.shape
    quads = torch.empty((batch, *geometry.out, taps, 4), dtype=top.dtype, device=top.device)
    pixels, block = batch * geometry.positions, 64
    launch(
        share_maxima,
        (cdiv(pixels, block),),
        top,
        {
            "p_dtop": dtop, "p_ties": ties, "p_dmean": dmean, "p_top": top, "p_quads": quads,
            "p_pixel": top if pixel is None else pixel, "LINKED": pixel is not None,
            "pixels": pixels, "image": geometry.positions, "C": geometry.channels, "T": taps,
            "TAPS": power_of_two(taps), "BLOCK_P": block,
        },
        num_warps=4,
    )  # fmt: skip
    return quads, quads, quads
