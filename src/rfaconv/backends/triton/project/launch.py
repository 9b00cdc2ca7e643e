"""The projection: fused kernel, or panel of a chunk and a library product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton import support
from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.checks import check_features, check_gates, check_weight
from rfaconv.backends.triton.common.launch import cdiv, chunks, interpreting, launch
from rfaconv.backends.triton.common.operands import (
    Geometry,
    channels_last,
    gate_operands,
    kernel_matrix,
    new_map,
    strides,
    table,
)
from rfaconv.backends.triton.common.tensor_core_kernels import CHANNELS
from rfaconv.backends.triton.common.tensor_cores import fill, supports
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.project.kernels import panel_forward, project_forward
from rfaconv.backends.triton.project.tensor_core_kernels import (
    panel_tensor_cores,
    project_tensor_cores,
)

__all__ = ["fill_panel", "project", "run_project", "tensor_cores"]


def tensor_cores(dtype: torch.dtype) -> bool:
    """Whether products of this dtype may run on tensor cores: float32 only with TF32."""
    if dtype != torch.float32:
        return True
    # torch.get_float32_matmul_precision raises where this newer setting has been used
    chosen = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    if chosen is None:  # before torch 2.9
        return torch.get_float32_matmul_precision() != "highest"
    return bool(chosen == "tf32")


def project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
) -> Tensor:
    """``y = K (f * a) + bias`` (B, O, Ho, Wo); see the schema of ``rfaconv::project``."""
    check_features(x, feature_weight, feature_bias, window)
    check_gates(x, gate, variant, window)
    check_weight(x, weight, bias, groups, window)
    geometry = Geometry.of(x, window, weight.size(0))
    y = new_map(x, (x.size(0), weight.size(0), *geometry.out))
    if y.numel() == 0:
        return y
    config = configuration(x, weight.size(0), variant, geometry)
    run_project(x, feature_weight, feature_bias, gate, weight, bias, y, variant, geometry, config)
    return y


def configuration(
    x: Tensor, outputs: int, variant: str, geometry: Geometry
) -> configs.ProjectConfig:
    """What the table has for a map and so many outputs."""
    return configs.project(
        str(x.dtype).removeprefix("torch."),
        geometry.taps,
        outputs,
        tensor_cores=tensor_cores(x.dtype),
        variant=variant,
        channels=geometry.channels,
        last=channels_last(x),
        hopper=support.hopper(x.device),
    )


def run_project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    y: Tensor,
    variant: str,
    geometry: Geometry,
    config: configs.ProjectConfig,
) -> None:
    """Fills ``y`` with one configuration."""
    k = kernel_matrix(weight)
    matrices = None
    if config.path != "fused" and supports(x, geometry):
        matrices = fill(x, feature_weight, feature_bias, gate, variant)
        rows = matrices["p_rows"]
    else:
        rows = table(feature_weight, feature_bias, variant, gate)
    gates = gate_operands(variant, gate, rows)
    if config.path == "panel":
        _two_steps(x, matrices, rows, gates, k, bias, y, variant, geometry)
    elif matrices is not None:
        _tensor_cores(x, matrices, gates, k, bias, y, variant, geometry, config)
    else:
        _fused(x, rows, gates, k, bias, y, variant, geometry, config)


def _fused(
    x: Tensor,
    rows: Tensor,
    gates: tuple[Tensor, Tensor],
    k: Tensor,
    bias: Tensor | None,
    y: Tensor,
    variant: str,
    geometry: Geometry,
    config: configs.ProjectConfig,
) -> None:
    pixels, outputs = geometry.batch * geometry.positions, y.size(1)
    launch(
        project_forward,
        (cdiv(pixels, config.block_p), cdiv(outputs, config.block_o)),
        x,
        {
            "p_x": x, "p_t": rows, "p_0": gates[0], "p_1": gates[1], "p_k": k,
            "p_bias": k if bias is None else bias, "p_y": y, "pixels": pixels, "O": outputs,
            **geometry.arguments(x), **strides("y", y, "bohw"), **strides("k", k, "ojc"),
            "VARIANT": CODES[variant], "HAS_BIAS": bias is not None,
            "PRECISION": "tf32" if x.dtype == torch.float32 else None, "UPCAST": interpreting(),
            "VECTOR": config.vector, "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
            "BLOCK_O": config.block_o,
        },
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


def _tensor_cores(
    x: Tensor,
    matrices: dict[str, Tensor],
    gates: tuple[Tensor, Tensor],
    k: Tensor,
    bias: Tensor | None,
    y: Tensor,
    variant: str,
    geometry: Geometry,
    config: configs.ProjectConfig,
) -> None:
    pixels, outputs = geometry.batch * geometry.positions, y.size(1)
    launch(
        project_tensor_cores,
        (cdiv(pixels, config.block_p), cdiv(outputs, config.block_o)),
        x,
        {
            "p_x": x, **matrices, "p_0": gates[0], "p_1": gates[1],
            "p_k": k, "p_bias": k if bias is None else bias, "p_y": y, "pixels": pixels,
            "O": outputs,
            **geometry.arguments(x), **strides("y", y, "bohw"),
            "VARIANT": CODES[variant], "HAS_BIAS": bias is not None, "UPCAST": interpreting(),
            "BLOCK_P": config.block_p, "BLOCK_C": config.block_c, "BLOCK_O": config.block_o,
            "WHOLE": outputs % config.block_o == 0,
            "DENSE": y.permute(0, 2, 3, 1).is_contiguous(),
        },
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


def fill_panel(
    x: Tensor,
    matrices: dict[str, Tensor] | None,
    rows: Tensor,
    gates: tuple[Tensor, Tensor],
    panel: Tensor,
    variant: str,
    geometry: Geometry,
) -> None:
    """Writes the panel (pixels, T, C) of the images ``x``."""
    pixels = x.size(0) * geometry.positions
    shared = {
        "p_x": x, "p_0": gates[0], "p_1": gates[1], "p_panel": panel, "pixels": pixels,
        **geometry.arguments(x), "VARIANT": CODES[variant],
    }  # fmt: skip
    if matrices is not None:
        config = configs.PANEL
        groups = configs.panel_groups(cdiv(pixels, config.block_p), geometry.channels)
        own = {**matrices, "groups": groups, "UPCAST": interpreting()}
        kernel, columns = panel_tensor_cores, cdiv(geometry.channels, groups * CHANNELS.value)
    else:
        config = configs.tile(geometry.channels)
        own = {"p_t": rows, "VECTOR": config.vector, "BLOCK_C": config.block_c}
        kernel, columns = panel_forward, cdiv(geometry.channels, config.block_c)
    arguments = {**shared, **own, "BLOCK_P": config.block_p}
    launch(
        kernel, (cdiv(pixels, config.block_p), columns), x, arguments,
        num_warps=config.warps, num_stages=2,
    )  # fmt: skip


def _two_steps(
    x: Tensor,
    matrices: dict[str, Tensor] | None,
    rows: Tensor,
    gates: tuple[Tensor, Tensor],
    k: Tensor,
    bias: Tensor | None,
    y: Tensor,
    variant: str,
    geometry: Geometry,
) -> None:
    """Panel of a chunk of images, then a library product; the chunk is meant to stay in the L2
    cache.
    """
    pixels, width = geometry.positions, geometry.taps * geometry.channels
    matrix = k.flatten(1).t()  # (T*C, O)
    parts = chunks(geometry.batch, pixels * width * x.element_size())
    panel = torch.empty((parts[0][1] * pixels, width), dtype=x.dtype, device=x.device)
    # a view of y as (pixels, outputs) where its channels are last, else the product is copied
    # into place
    flat = y.permute(0, 2, 3, 1)
    for first, last in parts:
        chunk = panel[: (last - first) * pixels]
        fill_panel(
            x[first:last],
            matrices,
            rows,
            part_of_gates(gates, variant, first, last),
            chunk,
            variant,
            geometry,
        )
        target = flat[first:last]
        if target.is_contiguous():
            _product(chunk, matrix, bias, target.view(-1, y.size(1)))
        else:
            result = torch.empty((chunk.size(0), y.size(1)), dtype=x.dtype, device=x.device)
            _product(chunk, matrix, bias, result)
            target.copy_(result.view(target.shape))


def part_of_gates(
    gates: tuple[Tensor, Tensor], variant: str, first: int, last: int
) -> tuple[Tensor, Tensor]:
    """The gate operands of some images."""
    if variant in ("rfcbam", "rfca"):
        return gates[0][first:last], gates[1][first:last]
    return gates


def _product(panel: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(panel, matrix, out=out)
    else:
        torch.addmm(bias, panel, matrix, out=out)
