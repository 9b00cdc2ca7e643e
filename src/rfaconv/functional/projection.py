"""Projection: features times gate, times the weight of the final convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv import dispatch, reference
from rfaconv.functional._arguments import check_gate
from rfaconv.functional.field import ReceptiveField
from rfaconv.ops.linked import linked_project
from rfaconv.reference.features import accumulation_dtype


def project(
    field: ReceptiveField, gate: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """``y = K (f * a) + bias``: features times gate, times ``K = weight.reshape(O, -1)``.

    Args:
        field: the receptive-field feature.
        gate: ``rfa``: attention weights (C, T), a = softmax over taps of ``w[c,j] * mean(u)``.
            ``rfcbam``: channel (B, C) and pixel (B, T, *out), a = their product.
            ``rfca``: one (B, C, k_i * out_i) per spatial dimension, a = their product.
            ``none``: empty, a = 1.
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.

    Returns:
        (B, O, *out).

    Source: paper, equation 5 and "adjust shape", which is this product.
    """
    x, feature_weight, feature_bias, window, variant, groups, backend, out, values, links = field
    check_gate(gate, x, out, window, variant)
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    acc = accumulation_dtype(x.dtype)
    if backend == dispatch.REFERENCE:
        return reference.project(
            x, feature_weight, feature_bias, [g.to(acc) for g in gate], weight, bias, variant,
            groups, window, precomputed=values,
        )  # fmt: skip
    operands = [g if g.dtype == x.dtype else g.to(acc) for g in gate]
    if links:
        linked = linked_project(
            x, feature_weight, feature_bias, operands, weight, bias, variant, window.to_ints(),
            backend,
        )  # fmt: skip
        if linked is not None:
            return linked
    y: Tensor = torch.ops.rfaconv.project(
        x, feature_weight, feature_bias, operands, weight, bias, variant, groups, window.to_ints(),
        backend,
    )  # fmt: skip
    return y
