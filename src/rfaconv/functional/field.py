"""The receptive-field feature and its statistics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.dispatch import REFERENCE
from rfaconv.functional._select import select_linked, select_stages
from rfaconv.functional.batch_norm import BatchNormState, fold
from rfaconv.geometry import Window
from rfaconv.reference.features import accumulation_dtype


class ReceptiveField(NamedTuple):
    """The receptive-field feature of an input: what it is computed from, and how.

    Attributes:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        window: the sliding window.
        variant: the operator that it is for.
        groups: groups of the final convolution.
        backend: the backend that runs the stages.
        out: number of windows along each dimension.
        values: the features (B, C, T, *out) where they exist, else None.
        links: whether the backend can join the backward passes of statistics and projection.
    """

    x: Tensor
    feature_weight: Tensor
    feature_bias: Tensor
    window: Window
    variant: str
    groups: int
    backend: str
    out: tuple[int, ...]
    values: Tensor | None = None
    links: bool = False


def receptive_field(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor | BatchNormState,
    window: Window,
    variant: str,
    groups: int = 1,
    backend: str = "auto",
) -> ReceptiveField:
    """Describes the features ``f[c] = relu(G'[c] u[c] + b'[c])`` that the next stages use.

    The parameters have been checked, against each other and the input.

    Args:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T); with a BatchNorm G, (C * T, 1, *kernel).
        feature_bias: b' (C, T), or the BatchNorm that is to be folded in.
        window: the sliding window.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``.
        groups: groups of the final convolution.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Raises:
        BackendUnavailable: if a backend other than ``auto`` cannot run this; the reason is named.
    """
    weight, out = feature_weight, window.output_size(x.shape[2:])
    if isinstance(feature_bias, BatchNormState):
        weight, bias = fold(x, weight, feature_bias, window, out, backend)
    else:
        bias = feature_bias
    chosen = select_stages(variant, x, window, groups, backend)
    links = select_linked(variant, (x, weight, bias), window, groups, chosen)
    values = None
    if chosen == REFERENCE:
        acc = accumulation_dtype(x.dtype)
        weight, bias = weight.to(acc), bias.to(acc)
        # the backward pass needs them anyway, so statistics and projection share one copy
        values = reference.shared_features(x, weight, bias, window)
    return ReceptiveField(x, weight, bias, window, variant, groups, chosen, out, values, links)


def measured_field(
    x: Tensor, normed: Tensor, window: Window, variant: str, groups: int = 1
) -> ReceptiveField:
    """The receptive-field feature from what a norm made of the linear features.

    Args:
        x: input (B, C, *size).
        normed: (B, C * T, *out).
        window: the sliding window.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``.
        groups: groups of the final convolution.
    """
    values = reference.normed_features(normed, window)
    out = tuple(values.shape[3:])
    nothing = values.new_empty(0)
    return ReceptiveField(x, nothing, nothing, window, variant, groups, REFERENCE, out, values)


def feature_stats(field: ReceptiveField) -> tuple[Tensor, ...]:
    """Statistics of the features that the gates of RFCBAM and RFCA are made from.

    Returns:
        ``rfcbam``: maximum and mean over channels, each (B, T, *out).
        ``rfca``: one mean (B, C, k_i * out_i) per spatial dimension i of the enlarged map.

    Source: paper, section 3.3.
    """
    x, weight, bias, window, variant, *_ = field
    if field.backend == REFERENCE:
        return reference.feature_stats(x, weight, bias, variant, window, precomputed=field.values)
    first, second = torch.ops.rfaconv.feature_stats(
        x, weight, bias, variant, window.to_ints(), field.backend
    )
    return first, second
