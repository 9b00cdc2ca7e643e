"""RFCBAM: ``a[b,c,j,p] = channel[b,c] * pixel[b,j,p]`` (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rfaconv.geometry import Window


def panel(x: Tensor, gate: Sequence[Tensor], window: Window) -> Tensor:
    """Gates (B, C, T, *out) from ``gate = [channel (B, C), pixel (B, T, *out)]``."""
    channel, pixel = gate
    return channel.view(*channel.shape, 1, *(1,) * window.dims) * pixel.unsqueeze(1)


def taps(x: Tensor, gate: Sequence[Tensor], window: Window) -> Callable[[int], Tensor]:
    """Gates tap by tap."""
    channel, pixel = gate
    channel = channel.view(*channel.shape, *(1,) * window.dims)
    return lambda tap: channel * pixel[:, tap].unsqueeze(1)
