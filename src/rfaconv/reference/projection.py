"""The product of the panel with the final weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from rfaconv._autocast import in_given_dtype
from rfaconv.geometry import Window
from rfaconv.reference.features import features, in_fast_layout, recorded, tap_features
from rfaconv.reference.gates import GATES

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def gate_panel(x: Tensor, gate: Sequence[Tensor], variant: str, window: Window) -> Tensor | None:
    """Gates of all taps (B, C, T, *out); None for variant ``none``."""
    result: Tensor | None = GATES[variant].panel(x, gate, window)
    return result


@in_given_dtype
def project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Window,
    *,
    precomputed: Tensor | None = None,
) -> Tensor:
    """``y = K (f * a) + bias`` with features f, gate a and ``K = weight.reshape(O, C/groups * T)``.

    The published "adjust shape, then k x k convolution with stride k" is this product.

    Args:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        gate: the variant's gate tensors.
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``.
        groups: groups of the final convolution.
        window: the sliding window.
        precomputed: the features (B, C, T, *out) if they exist already.

    Returns:
        (B, O, *out) in the dtype of ``weight``.
    """
    if precomputed is None and not recorded(x, feature_weight, feature_bias, *gate, weight):
        return _project_taps(
            x, feature_weight, feature_bias, gate, weight, bias, variant, groups, window
        )
    if precomputed is None:
        precomputed = features(x, feature_weight, feature_bias, window)
    gates = gate_panel(x, gate, variant, window)
    panel = precomputed.flatten(1, 2)  # (B, C*T, *out)
    if gates is not None:
        # flat before the product: Inductor 2.14 cannot order the strides of a view of open size
        # that a convolution takes and the backward pass keeps
        panel = panel * gates.flatten(1, 2)
    panel = panel.to(weight.dtype)
    return _pointwise(panel, weight.flatten(1), bias, groups, window.dims)


def _project_taps(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Window,
) -> Tensor:
    """Tap by tap: nine small maps after one another instead of one of nine times the size."""
    source, x = x, in_fast_layout(x)
    tap_gate = GATES[variant].taps(x, gate, window)
    taps_last = weight.flatten(2)  # (O, C/groups, T)
    total: Tensor | None = None
    for tap in range(window.taps):
        f = tap_features(x, feature_weight, feature_bias, window, tap)
        a = tap_gate(tap)
        panel = (f if a is None else f.mul_(a)).to(weight.dtype)
        y = _pointwise(
            panel, taps_last[:, :, tap], bias if total is None else None, groups, window.dims
        )
        total = y if total is None else total.add_(y)
    assert total is not None
    return total if x is source else total.contiguous()


def _pointwise(
    panel: Tensor, matrix: Tensor, bias: Tensor | None, groups: int, dims: int
) -> Tensor:
    kernel = matrix.reshape(*matrix.shape, *(1,) * dims)
    y: Tensor = _CONVOLUTIONS[dims](panel, kernel, bias, groups=groups)
    return y
