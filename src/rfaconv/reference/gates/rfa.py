"""RFA: ``a[c,j] = softmax_j(w[c,j] * mean(u[c]))`` (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.reference.features import patch_mean


def panel(x: Tensor, gate: Sequence[Tensor], window: Window) -> Tensor:
    """Gates (B, C, T, *out) from ``gate = [w (C, T)]``."""
    (weight,) = gate
    mean = patch_mean(x, window).to(weight.dtype)
    logits = weight.view(*weight.shape, *(1,) * window.dims) * mean.unsqueeze(2)
    return logits.softmax(2)


def taps(x: Tensor, gate: Sequence[Tensor], window: Window) -> Callable[[int], Tensor]:
    """Gates tap by tap; each may be asked for once, in place of the exponentials kept for it."""
    (weight,) = gate
    mean = patch_mean(x, window).to(weight.dtype)
    shape = (weight.shape[0], *(1,) * window.dims)
    # the largest logit is that of the largest or of the smallest weight, by the sign of the mean;
    # it is taken off the weights, for between large logits a difference would be all rounding
    low, high = weight.aminmax(dim=1, keepdim=True)
    above, below = weight - low, weight - high
    negative, positive = mean.clamp_max(0.0), mean.clamp_min_(0.0)
    powers = [
        torch.addcmul(
            negative * above[:, tap].reshape(shape), positive, below[:, tap].reshape(shape)
        ).exp_()
        for tap in range(window.taps)
    ]
    total = powers[0].clone()
    for power in powers[1:]:
        total += power
    scale = total.reciprocal_()
    return lambda tap: powers[tap].mul_(scale)
