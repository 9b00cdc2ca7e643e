"""The gates of rfca: in inference both layers and the BatchNorm between them in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import power_of_two
from rfaconv.backends.triton.gates.coordinate_kernels import coordinate_forward

__all__ = ["coordinate_gates"]


def coordinate_gates(
    first: Tensor,
    second: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    norm: Sequence[Tensor],
    eps: float,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Gates of rows and columns; see the schema of the op."""
    rows, cols = lines_of(first), lines_of(second)
    batch, _, channels = rows.shape
    gates = torch.empty_like(rows), torch.empty_like(cols)
    hidden = reduce_weight.size(0)
    blocks = tiles(hidden)
    counts = [cdiv(line.size(1), blocks["BLOCK_L"]) for line in (rows, cols)]
    mean, var, *affine = (value.contiguous() for value in norm)
    gamma, beta = affine or (mean, mean)
    pointers = [mean if bias is None else bias.contiguous() for bias in biases]
    launch(
        coordinate_forward,
        (batch, sum(counts)),
        first,
        {
            "p_rows": rows, "p_cols": cols, "p_reduce": reduce_weight.contiguous(),
            "p_offset": mean if reduce_bias is None else reduce_bias.contiguous(),
            "p_mean": mean, "p_var": var, "p_gamma": gamma, "p_beta": beta,
            "p_weight_rows": weights[0].contiguous(), "p_weight_cols": weights[1].contiguous(),
            "p_bias_rows": pointers[0], "p_bias_cols": pointers[1], "p_gate_rows": gates[0],
            "p_gate_cols": gates[1], "row_blocks": counts[0], "ROWS": rows.size(1),
            "COLS": cols.size(1), "C": channels, "M": hidden, "EPS": eps,
            "HAS_OFFSET": reduce_bias is not None, "AFFINE": bool(affine),
            "ROWS_BIAS": biases[0] is not None, "COLS_BIAS": biases[1] is not None, **blocks,
        },
        num_warps=4,
    )  # fmt: skip
    return gates[0].transpose(1, 2), gates[1].transpose(1, 2)


def lines_of(pooled: Tensor) -> Tensor:
    """Means (B, C, L) as (B, L, C); no copy where the channels lie next to each other."""
    return pooled.transpose(1, 2).contiguous()


def tiles(hidden: int) -> dict[str, Any]:
    """Lines, hidden channels and channels of a tile; 16 at least, as a product wants."""
    block_m = max(16, power_of_two(hidden))
    return {"BLOCK_L": 16, "BLOCK_M": block_m, "BLOCK_C": max(16, 1024 // block_m)}
