"""Backward passes of the projection and of the statistics, chunk by chunk of images.

The panel, its gradient (``dA = K^T dy``) and the patches' gradients exist for a chunk only. Nothing
here uses atomic operations, so results are deterministic always.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.backward_kernels import (
    SOURCES,
    gather_patches,
    parameter_backward,
    patch_backward,
)
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.launch import cdiv, chunks, launch
from rfaconv.backends.triton.operands import (
    Geometry,
    gate_operands,
    kernel_matrix,
    new_map,
    table,
)
from rfaconv.backends.triton.project import part_of_gates
from rfaconv.backends.triton.stats import GRADIENT, TIES, over_channels, over_line

__all__ = ["feature_stats_backward", "project_backward"]


class _Walk:
    """Feature gradients of chunks of images, and the sums over all of them."""

    def __init__(self, x: Tensor, rows: Tensor, geometry: Geometry, source: int) -> None:
        self.x, self.rows, self.geometry, self.source = x, rows, geometry, source
        taps, channels = geometry.taps, geometry.channels
        self.tile = configs.tile(taps, channels)
        self.walk = configs.walk(taps, channels, geometry.positions, wide=geometry.wide)
        self.splits = cdiv(geometry.positions, self.walk.length)
        self.sums = rows.new_empty((geometry.batch * self.splits, taps, taps + 2, channels))

    def run(
        self,
        first: int,
        last: int,
        operands: tuple[Tensor, Tensor, Tensor],
        d_panel: Tensor,
        panel: Tensor | None,
        du: Tensor | None,
        dot: Tensor,
    ) -> None:
        """Fills panel, du and the sums for the images ``first`` to ``last``."""
        x, geometry, tile, walk = self.x[first:last], self.geometry, self.tile, self.walk
        pixels, channels = (last - first) * geometry.positions, geometry.channels
        shared = {
            "p_x": x, "p_t": self.rows, "p_0": operands[0], "p_1": operands[1],
            "p_s": operands[2], "p_da": d_panel, "p_dot": dot, **geometry.arguments(x),
            "SOURCE": self.source,
        }  # fmt: skip
        launch(
            patch_backward,
            (cdiv(pixels, tile.block_p), cdiv(channels, tile.block_c)),
            x,
            {
                **shared, "p_panel": d_panel if panel is None else panel,
                "p_du": d_panel if du is None else du, "pixels": pixels,
                "WITH_PANEL": panel is not None,
                "WITH_DU": du is not None, "VECTOR": tile.vector,
                "BLOCK_P": tile.block_p, "BLOCK_C": tile.block_c,
            },
            num_warps=tile.warps,
        )  # fmt: skip
        launch(
            parameter_backward,
            ((last - first) * self.splits, cdiv(channels, walk.block_c), cdiv(geometry.taps,
            walk.rows)),
            x,
            {
                **shared, "p_sums": self.sums[first * self.splits : last * self.splits],
                "splits": self.splits, "length": walk.length, "TAPS": walk.rows,
                "BLOCK_P": walk.block_p, "BLOCK_C": walk.block_c,
            },
            num_warps=walk.warps,
        )  # fmt: skip

    def gather(self, du: Tensor, dx: Tensor) -> None:
        """Sums the patches' gradients into the map ``dx`` of the same images."""
        geometry, config = self.geometry, configs.gather(self.geometry.channels)
        pixels = dx.size(0) * dx.size(2) * dx.size(3)
        launch(
            gather_patches, (cdiv(pixels, config.block_p), cdiv(geometry.channels,
            config.block_c)), dx,
            {
                "p_du": du, "p_dx": dx, "pixels": pixels, **geometry.arguments(dx),
                "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip

    def feature_gradients(self) -> tuple[Tensor, Tensor]:
        """DG' (C, T, T) and db' (C, T)."""
        taps = self.geometry.taps
        total = self.sums[:, :, : taps + 1].sum(0).permute(2, 0, 1)  # (C, T, T + 1)
        return total[:, :, :taps].contiguous(), total[:, :, taps].contiguous()

    def gate_sums(self) -> Tensor:
        """The gradient of the gate's parameter per image, (B, T, C)."""
        rows = self.sums[:, :, self.geometry.taps + 1]
        result: Tensor = rows.unflatten(0, (self.geometry.batch, self.splits)).sum(1)
        return result


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
    rows = table(feature_weight, feature_bias, variant, gate)
    gates = gate_operands(variant, gate, rows)
    matrix = kernel_matrix(weight).flatten(1)  # (O, T*C)
    walk = _Walk(x, rows, geometry, CODES[variant])
    dx = new_map(x, x.shape) if need_x else x.new_empty((0,))
    lines = (
        [torch.empty_like(v) for v in gates] if need_gate and variant in ("rfcbam", "rfca") else []
    )
    parts = chunks(geometry.batch, geometry.positions * width * x.element_size())
    largest = (parts[0][1] if parts else 0) * geometry.positions
    d_panel = x.new_empty((largest, width))
    panel = x.new_empty((largest, width)) if need_weight else None
    du = x.new_empty((largest, width)) if need_x else None
    dot = rows.new_empty((largest, geometry.channels)) if variant == "rfa" else rows
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
        elif variant == "rfca":
            for axis, line in enumerate(lines):
                over_line(
                    x[first:last],
                    rows,
                    geometry,
                    GRADIENT,
                    axis,
                    now[1 - axis],
                    part,
                    line[first:last],
                )
        walk.run(first, last, (*now, rows), part, panel, du, dot)
        if du is not None:
            walk.gather(du, dx[first:last])
        if dk is not None and panel is not None:
            torch.mm(dy_rows.t(), panel[:pixels], out=dk[index])
    dg, db = (
        walk.feature_gradients()
        if need_fw or need_fb
        else (rows.new_empty((0,)), rows.new_empty((0,)))
    )
    return (
        dx,
        dg if need_fw else rows.new_empty((0,)),
        db if need_fb else rows.new_empty((0,)),
        weight.new_empty((0,)) if dk is None else _weight_gradient(dk, weight),
        _gate_gradients(variant, walk, lines, gate)
        if need_gate
        else [v.new_empty((0,)) for v in gate],
    )


def _weight_gradient(dk: Tensor, weight: Tensor) -> Tensor:
    """DW (O, C, kh, kw) from the chunks' (O, T*C), summed in float32."""
    outputs, channels, kh, kw = weight.shape
    total = dk.sum(0, dtype=torch.float32).view(outputs, kh, kw, channels).permute(0, 3, 1, 2)
    return total.to(weight.dtype, memory_format=torch.contiguous_format)


def _gate_gradients(
    variant: str, walk: _Walk, lines: list[Tensor], gate: Sequence[Tensor]
) -> list[Tensor]:
    if variant == "rfa":
        return [walk.gate_sums().sum(0).t().contiguous()]
    if variant == "rfcbam":
        return [walk.gate_sums().sum(1), lines[1]]
    if variant == "rfca":
        return [line.transpose(1, 2).contiguous() for line in lines]
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
    rows = table(feature_weight, feature_bias)
    if variant == "rfcbam":
        top = s0.contiguous()
        ties = torch.empty_like(top)
        over_channels(x, rows, geometry, TIES, top, top, ties, ties)
        # equal maxima share their gradient; one of zero has none to give, relu'(0) = 0
        shared = (d0 / ties.clamp_min(1.0)).contiguous()
        operands = (shared, (d1 / geometry.channels).contiguous(), top)
    else:
        (kh, kw), (height, width) = geometry.window.kernel, geometry.out
        row = d0.transpose(1, 2) / (kw * width)
        col = d1.transpose(1, 2) / (kh * height)
        operands = (row.contiguous(), col.contiguous(), rows)
    walk = _Walk(x, rows, geometry, SOURCES[variant])
    dx = new_map(x, x.shape)
    taps_wide = geometry.taps * geometry.channels
    parts = chunks(geometry.batch, geometry.positions * taps_wide * x.element_size())
    du = x.new_empty(((parts[0][1] if parts else 0) * geometry.positions, taps_wide))
    for first, last in parts:
        top = operands[2][first:last] if variant == "rfcbam" else rows
        now = (operands[0][first:last], operands[1][first:last], top)
        walk.run(first, last, now, du, None, du, rows)
        walk.gather(du, dx[first:last])
    return dx, *walk.feature_gradients()
