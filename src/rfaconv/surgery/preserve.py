"""Warm start: an operator that computes what the convolution in its place did.

A receptive-field operator is ``K (gate * relu(BatchNorm(G u))) + bias``. It equals the convolution
``W u + bias`` when

* G is the identity, so that feature j is tap j of the patch;
* the BatchNorm adds a shift ``s >= 0`` with ``x + s >= 0`` for every input x, so that the ReLU
  changes nothing; a padded zero becomes s like any other zero, so borders stay exact;
* the last weights of the attention are zero, so that the gate is one constant ``a``: 1/T for RFA,
  a product of sigmoid(0) = 1/2 else. What comes before those last weights stays random, so that
  gradients reach them at once;
* ``K = W / a`` and ``K`` times the shift is taken off the bias.

The BatchNorm takes its running mean m and variance v from the calibration batches. Its scale is
sqrt(v + eps), its shift m + s. In evaluation this is x + s; in training, on batches like those
of the calibration, too. All of it is computed in float64 from the values that the layer stores
after rounding to its dtype, so the rounding of m, v and s cancels.

An input below -s acts as -s. Where the network itself proves a lower bound of the input (after
ReLU, SiLU, pooling, sums of these …) s is that bound and nothing can fall below it. Elsewhere s
reaches below the smallest calibrated value of the channel by the whole calibrated range of the
channel. A larger s costs precision (the features carry it), a smaller one could clip.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.surgery.bounds import Interval
from rfaconv.surgery.calibration import Observation
from rfaconv.surgery.sites import Convolution

_SIGMOID_OF_ZERO = 0.5


def lower_bounds(interval: Interval, seen: Observation | None, channels: int) -> Tensor | None:
    """Smallest input of each channel to represent (C,), float64; None if it is not known."""
    if math.isfinite(interval.low):
        return torch.full((channels,), min(interval.low, 0.0), dtype=torch.float64)
    if seen is None or seen.low is None or seen.high is None:
        return None
    spread = seen.high - seen.low
    # a channel that hardly moved in the calibration may do so later
    spread = torch.maximum(spread, spread.mean())
    return (seen.low - spread).clamp_max(0.0)


def neutral_attention_(module: nn.Module, operator: str) -> float:
    """Makes the gate of an operator one constant, in place, and returns the constant."""
    parameters = dict(module.named_parameters())
    last = [name for name in parameters if name.startswith(_LAST_WEIGHTS[operator])]
    with torch.no_grad():
        for name in last:
            parameters[name].zero_()
        for name in _FIRST_WEIGHTS.get(operator, ()):
            # one hidden unit that non-negative inputs cannot switch off, so that the zeroed layer
            # learns
            parameters[name][0].abs_()
    if operator == "rfa":
        taps = parameters["weight"][0, 0].numel()
        return 1.0 / taps
    # one gate per axis, or one of the channel and one of the pixel
    gates = parameters["weight"].dim() - 2 if operator in ("rfca", "ca") else _SIGMOIDS[operator]
    return _SIGMOID_OF_ZERO**gates


_LAST_WEIGHTS = {
    "rfa": ("attention_weight",),
    "rfcbam": ("se.fc2.weight", "spatial_weight"),
    "rfca": tuple(f"attention.conv_{axis}." for axis in "dhw"),
    "cam": ("attention.fc2.weight",),
    "cbam": ("attention.fc2.weight", "attention.spatial.weight"),
    "ca": tuple(f"attention.conv_{axis}." for axis in "dhw"),
}
_FIRST_WEIGHTS = {
    "rfcbam": ("se.fc1.weight",),
    "cam": ("attention.fc1.weight",),
    "cbam": ("attention.fc1.weight",),
}
_SIGMOIDS = {"rfcbam": 2, "cam": 1, "cbam": 2}


def identity_features_(
    module: nn.Module, low: Tensor, seen: Observation | None, *, margin: bool
) -> tuple[Tensor, Tensor]:
    """Makes feature j of a receptive-field operator ``scale * tap j + shift``, in place.

    Args:
        module: the operator, C channels and T taps.
        low: smallest input of each channel (C,).
        seen: statistics for the BatchNorm; without them mean 0 and variance 1.
        margin: whether to shift by some rounding errors more than ``low`` asks for.

    Returns:
        The scale, 1 to rounding, and the shift, both (C, T) in float64, that the stored values
        make.
    """
    weight: Tensor = module.feature_weight  # type: ignore[assignment]
    norm: nn.BatchNorm2d = module.feature_norm  # type: ignore[assignment]
    channels = len(low)
    taps = weight.shape[0] // channels
    wanted = -low.to(weight.device).repeat_interleave(taps)
    with torch.no_grad():
        one_hot = torch.eye(taps, dtype=weight.dtype, device=weight.device)
        weight.copy_(one_hot.repeat(channels, 1).view_as(weight))
        assert norm.running_mean is not None and norm.running_var is not None
        if seen is not None and seen.mean is not None and seen.var is not None:
            norm.running_mean.copy_(seen.mean.flatten())
            norm.running_var.copy_(seen.var.flatten())
        mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
        norm.weight.copy_(deviation)
        scale = norm.weight.double() / deviation
        beta = scale * (mean + wanted)
        if margin:
            beta += 4 * torch.finfo(weight.dtype).eps * (mean.abs() + wanted)
        norm.bias.copy_(beta)
        shift = norm.bias.double() - scale * mean
    return scale.view(channels, taps), shift.view(channels, taps)


def needs_bias(convolution: Convolution, low: Tensor | None) -> bool:
    """Whether the operator that replaces ``convolution`` has to have a bias."""
    if convolution.bias is not None:
        return True
    coarse = torch.finfo(convolution.weight.dtype).bits < 32
    return low is not None and (coarse or bool((low < 0).any()))


def preserve_(
    module: Any,
    convolution: Convolution,
    operator: str,
    low: Tensor | None = None,
    seen: Observation | None = None,
) -> None:
    """Gives an operator the weights with which it computes what ``convolution`` computes, in place.

    Args:
        module: the operator, of the convolution's geometry; it has a bias if :func:`needs_bias`
            says so.
        convolution: the convolution; not changed.
        operator: name of the operator.
        low: smallest input of each channel (C,), for receptive-field operators.
        seen: observations for the BatchNorm of receptive-field operators.
    """
    with torch.no_grad():
        gate = neutral_attention_(module, operator)
        kernel = convolution.weight.double() / gate
        added: Tensor | float = 0.0
        if low is None:
            module.weight.copy_(kernel)
        else:
            margin = module.bias is not None
            scale, shift = identity_features_(module, low, seen, margin=margin)
            module.weight.copy_(kernel / _per_group(scale, kernel, convolution.groups))
            # what the shift adds, from the weights as they are stored
            parts = module.weight.double() * _per_group(shift, kernel, convolution.groups)
            added = gate * parts.flatten(1).sum(1)
        if module.bias is not None:
            bias = 0.0 if convolution.bias is None else convolution.bias.double()
            module.bias.copy_(torch.as_tensor(bias - added))


def _per_group(values: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """Values of channels and taps (C, T) as (O, C/groups, *kernel): each output has its group's."""
    outputs = len(kernel)
    grouped = values.view(groups, 1, *kernel.shape[1:])
    return grouped.expand(groups, outputs // groups, *kernel.shape[1:]).reshape(kernel.shape)
