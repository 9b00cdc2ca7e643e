"""A whole layer in inference: fold, statistics, gates and projection, launch after launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.triton.common.checks import check_map, check_operand, check_weight
from rfaconv.backends.triton.fold.launch import fold_running
from rfaconv.backends.triton.gates.channel import channel_gate
from rfaconv.backends.triton.gates.coordinate import coordinate_gates
from rfaconv.backends.triton.gates.pixel import pixel_gate
from rfaconv.backends.triton.project.launch import project
from rfaconv.backends.triton.stats.launch import feature_stats
from rfaconv.errors import InvalidArgument

__all__ = ["attend"]

Norm = Sequence[Tensor | None]


def attend(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor | None,
    feature_norm: Norm,
    feature_eps: float,
    attention: Sequence[Tensor],
    attention_bias: Sequence[Tensor | None],
    attention_norm: Norm,
    attention_eps: float,
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
) -> Tensor:
    """The output of a layer (B, O, Ho, Wo); see the schema of ``rfaconv::attend``."""
    check_map(x, window)
    check_weight(x, weight, bias, groups, window)
    channels, taps = x.size(1), window[0] * window[1]
    check_operand("feature_weight", feature_weight, (channels * taps, 1, *window[:2]), x)
    matrix = feature_weight.reshape(channels, taps, taps)
    if feature_norm:
        norm = _norm("feature_norm", feature_norm, channels * taps, x)
        folded, offset = fold_running(matrix, norm, feature_eps)
    else:
        if feature_bias is None:
            raise InvalidArgument("feature_bias", "a tensor where there is no norm", None)
        check_operand("feature_bias", feature_bias, (channels * taps,), x)
        folded, offset = matrix, feature_bias.reshape(channels, taps)
    features = x, folded, offset
    gate: Sequence[Tensor]
    if variant == "rfa":
        _count(attention, 1)
        check_operand("attention_weight", attention[0], (channels * taps, 1, 1, 1), x)
        gate = [attention[0].reshape(channels, taps)]
    elif variant == "rfcbam":
        _count(attention, 3)
        # the statistics and the gates are checked where they are made
        first, second = feature_stats(*features, variant, window)
        channel, _ = channel_gate(x, attention[0], attention[1])
        gate = [channel, pixel_gate(first, second, attention[2], window)]
    elif variant == "rfca":
        _count(attention, 3)
        _count(attention_bias, 3)
        gate = _lines(features, attention, attention_bias, attention_norm, attention_eps, window)
    else:
        raise InvalidArgument("variant", "rfa, rfcbam or rfca", repr(variant))
    return project(*features, gate, weight, bias, variant, groups, window)


def _lines(
    features: tuple[Tensor, Tensor, Tensor],
    layers: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    norm: Norm,
    eps: float,
    window: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The gates of rfca from its two layers and the BatchNorm between them."""
    x, hidden = features[0], layers[0].size(0)
    channels = x.size(1)
    sizes = ((hidden, channels), (channels, hidden), (channels, hidden))
    names = ("attention.conv1", "attention.conv_h", "attention.conv_w")
    for name, layer, bias, size in zip(names, layers, biases, sizes, strict=True):
        check_operand(f"{name}.weight", layer, (*size, 1, 1), x)
        if bias is not None:
            check_operand(f"{name}.bias", bias, size[:1], x)
    mean, var, gamma, beta = _norm("attention.bn1", norm, hidden, x)
    if (gamma is None) != (beta is None):
        gamma = torch.ones_like(mean) if gamma is None else gamma
        beta = torch.zeros_like(mean) if beta is None else beta
    affine = [v for v in (gamma, beta) if v is not None]
    matrices = [layer.flatten(1) for layer in layers]
    first, second = feature_stats(*features, "rfca", window)
    return coordinate_gates(
        first, second, matrices[0], biases[0], [mean, var, *affine], eps, matrices[1:], biases[1:]
    )


def _norm(
    name: str, state: Norm, size: int, x: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Running mean and variance, scale and shift, checked."""
    if len(state) != 4 or state[0] is None or state[1] is None:
        raise InvalidArgument(name, "running mean and variance, scale and shift", len(state))
    for part, value in zip(("running_mean", "running_var", "weight", "bias"), state, strict=True):
        if value is not None:
            check_operand(f"{name}.{part}", value, (size,), x)
    return state[0], state[1], state[2], state[3]


def _count(tensors: Sequence[object], count: int) -> None:
    if len(tensors) != count:
        raise InvalidArgument("attention", f"{count} tensors", len(tensors))
