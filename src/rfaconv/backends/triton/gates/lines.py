"""The two layers of rfca's gates apart, for training, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.checks import check_operand
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.gates import line_kernels as kernels
from rfaconv.backends.triton.gates.coordinate import lines_of, tiles

__all__ = ["line_gates", "line_gates_backward", "line_hidden", "line_hidden_backward"]

SPLITS = 64
"""Most programs that share the images of a batch in a sum over all of them."""


def line_hidden(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Hidden channels (B, M, L0 + L1); see the schema of the op."""
    batch, channels = first.shape[:2]
    check_operand("first", first, (batch, channels, first.size(2)), first)
    check_operand("second", second, (batch, channels, second.size(2)), first)
    check_operand("weight", weight, (weight.size(0), channels), first)
    if bias is not None:
        check_operand("bias", bias, weight.shape[:1], first)
    rows, cols = lines_of(first), lines_of(second)
    shared, blocks = _shared(rows.size(1), cols.size(1), weight.size(1), weight.size(0))
    size = (rows.size(0), weight.size(0), rows.size(1) + cols.size(1))
    hidden = torch.empty(size, dtype=torch.float32, device=first.device)
    launch(
        kernels.hidden_forward,
        (rows.size(0), blocks),
        first,
        {
            **shared, "p_rows": rows, "p_cols": cols, "p_weight": weight.contiguous(),
            "p_bias": rows if bias is None else bias.contiguous(), "p_hidden": hidden,
            "HAS_BIAS": bias is not None,
        },
        num_warps=4,
    )  # fmt: skip
    return hidden


def line_hidden_backward(
    dhidden: Tensor, first: Tensor, second: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of both means, weight and bias; see the schema of the op."""
    rows, cols = lines_of(first), lines_of(second)
    (hidden, channels), batch = weight.shape, rows.size(0)
    shared, _ = _shared(rows.size(1), cols.size(1), channels, hidden)
    shared.pop("row_blocks")
    drows, dcols = (torch.empty_like(line, dtype=torch.float32) for line in (rows, cols))
    splits = min(batch, SPLITS)
    dweight = dhidden.new_empty((splits, hidden, channels))
    dbias = dhidden.new_empty((splits, hidden))
    launch(
        kernels.hidden_backward,
        (cdiv(channels, shared["BLOCK_C"]), splits),
        first,
        {
            **shared, "p_rows": rows, "p_cols": cols, "p_weight": weight.contiguous(),
            "p_dhidden": dhidden.contiguous(), "p_drows": drows, "p_dcols": dcols,
            "p_dweight": dweight, "p_dbias": dbias, "batch": batch,
        },
        num_warps=4, num_stages=1,  # as below
    )  # fmt: skip
    dweight, dbias = _joined(dweight[None], dbias[None], weight.dtype)
    return drows.transpose(1, 2), dcols.transpose(1, 2), dweight[0], dbias[0]


def line_gates(
    hidden: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], first: int
) -> tuple[Tensor, Tensor]:
    """Gates (B, C, L0) and (B, C, L1); see the schema of the op."""
    channels, batch = weights[0].size(0), hidden.size(0)
    check_operand("hidden", hidden, (batch, *hidden.shape[1:]), hidden)
    for name, weight, bias in zip(("rows", "cols"), weights, biases, strict=True):
        check_operand(f"weights of {name}", weight, (channels, hidden.size(1)), hidden)
        if bias is not None:
            check_operand(f"biases of {name}", bias, (channels,), hidden)
    lengths = first, hidden.size(2) - first
    shared, blocks = _shared(*lengths, channels, hidden.size(1))
    rows, cols = (
        torch.empty((batch, n, channels), dtype=torch.float32, device=hidden.device)
        for n in lengths
    )
    launch(
        kernels.gates_forward,
        (batch, blocks),
        hidden,
        {**shared, **_second(hidden, weights, biases), "p_gate_rows": rows, "p_gate_cols": cols},
        num_warps=4,
    )
    return rows.transpose(1, 2), cols.transpose(1, 2)


def line_gates_backward(
    drows: Tensor,
    dcols: Tensor,
    hidden: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    first: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden channels, weights and biases; see the schema of the op."""
    (channels, width), batch = weights[0].shape, hidden.size(0)
    shared, blocks = _shared(first, hidden.size(2) - first, channels, width)
    shared |= _second(hidden, weights, biases)
    shared |= {"p_drows": lines_of(drows), "p_dcols": lines_of(dcols)}
    dhidden = torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device)
    launch(
        kernels.gates_backward,
        (batch, blocks),
        hidden,
        {**shared, "p_dhidden": dhidden},
        num_warps=4,
    )
    shared.pop("row_blocks")
    splits = min(batch, SPLITS)
    dweights = hidden.new_empty((2, splits, channels, width))
    dbiases = hidden.new_empty((2, splits, channels))
    launch(
        kernels.gates_weights,
        (cdiv(channels, shared["BLOCK_C"]), splits, 2),
        hidden,
        {**shared, "p_dweight": dweights, "p_dbias": dbiases, "batch": batch},
        num_warps=4,
        num_stages=1,  # with loads ahead of the loop the sums spill
    )
    return dhidden, *_joined(dweights, dbiases, torch.float32)


def _joined(dweight: Tensor, dbias: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sums of weights (A, parts, N, M) and biases (A, parts, K) over the parts."""
    axes, parts, *size = dweight.shape
    sums = (
        torch.empty((axes, *size), dtype=dtype, device=dweight.device),
        torch.empty((axes, dbias.size(2)), dtype=dtype, device=dweight.device),
    )
    config = configs.join(parts)
    launch(
        kernels.join_parts,
        (cdiv(sums[0][0].numel() + dbias.size(2), config.block_c), axes),
        dweight,
        {
            "p_parts": dweight, "p_others": dbias, "p_sum": sums[0], "p_other": sums[1],
            "parts": parts, "size": size[0] * size[1], "others": dbias.size(2),
            "BLOCK_P": config.block_p, "BLOCK": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
    return sums


def _shared(rows: int, cols: int, channels: int, hidden: int) -> tuple[dict[str, Any], int]:
    """What every kernel is given, and the blocks of lines of both directions."""
    blocks = tiles(hidden)
    first, second = (cdiv(n, blocks["BLOCK_L"]) for n in (rows, cols))
    sizes = {"row_blocks": first, "ROWS": rows, "COLS": cols, "C": channels, "M": hidden}
    return {**sizes, **blocks}, first + second


def _second(
    hidden: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> dict[str, Any]:
    """The second layer's operands; ``hidden`` stands for a bias that there is not."""
    pointers = [hidden if bias is None else bias.contiguous() for bias in biases]
    return {
        "p_hidden": hidden.contiguous(),
        "p_weight_rows": weights[0].contiguous(), "p_weight_cols": weights[1].contiguous(),
        "p_bias_rows": pointers[0], "p_bias_cols": pointers[1],
        "ROWS_BIAS": biases[0] is not None, "COLS_BIAS": biases[1] is not None,
    }  # fmt: skip
