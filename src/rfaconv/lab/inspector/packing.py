"""Gates and kernels of a layer as few bytes, for a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.effective import EffectiveKernels, effective_kernels
from rfaconv.geometry import Window

LEVELS = 255
OUTPUTS = 12
"""Output channels whose kernels are in the page, those of the largest weights."""
WEIGHT_PART = 10
"""One part in so many of a layer's bytes is for weights."""


@dataclass(frozen=True)
class Quantised:
    """Numbers as bytes: ``low + step * byte``, with numbers of its own for each first index."""

    data: Tensor
    low: tuple[float, ...]
    step: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, the bytes as base64."""
        text = base64.b64encode(self.data.contiguous().numpy().tobytes()).decode()
        return {"data": text, "low": list(self.low), "step": list(self.step)}


def quantised(values: Tensor) -> Quantised:
    """Rounds (N, ...) to 256 levels between the least and the largest of each first index.

    Example:
        >>> quantised(torch.tensor([[0.0, 1.0, 2.0]])).data.tolist()
        [[0, 128, 255]]
    """
    flat = values.detach().double().flatten(1)
    low, high = flat.min(1).values, flat.max(1).values
    step = ((high - low) / LEVELS).clamp_min(1e-30)
    levels = ((flat - low[:, None]) / step[:, None]).round().clamp(0, LEVELS)
    data = levels.to(torch.uint8).reshape(values.shape)
    return Quantised(data, tuple(low.tolist()), tuple(step.tolist()))


def packed_layer(
    name: str, layer: nn.Conv2d, x: Tensor, budget: int, title: str = ""
) -> dict[str, Any]:
    """What the page knows of a layer on one input.

    Args:
        name: of the layer.
        layer: a convolution or an operator.
        x: its input (1, C, H, W).
        budget: bytes; as many channels are kept as go in, those that vary most, and the mean over
            all of them.
        title: what people call it; its class if empty.

    Returns:
        Plain values: the window, gates of the mean and of channels as bytes, weights.
    """
    found = effective_kernels(layer, x)
    gate = found.gate[0]  # (C, T, Ho, Wo)
    channels, taps, high, wide = gate.shape
    window = Window.create(layer.kernel_size, layer.stride, layer.padding, layer.dilation, dims=2)
    weights = budget // WEIGHT_PART
    room = max(1, (budget - weights) // (taps * high * wide) - 1)
    # the spread over the taps of a window, averaged over the windows
    spread = (gate.amax(1) - gate.amin(1)).mean((1, 2))
    kept = spread.argsort(descending=True)[: min(room, channels)].sort().values
    return {
        "name": name,
        "operator": title or type(layer).__name__,
        "input": list(x.shape[2:]),
        "output": [high, wide],
        "kernel": list(window.kernel),
        "stride": list(window.stride),
        "low": [pair[0] for pair in window.padding],
        "dilation": list(window.dilation),
        "channels": channels,
        "sharing": found.sharing,
        "difference": found.difference,
        "mean": quantised(gate.mean(0)[None]).as_json(),
        "kept": kept.tolist(),
        "gates": quantised(gate[kept]).as_json(),
        "weight": _weights(found, kept, weights),
    }


def _weights(found: EffectiveKernels, kept: Tensor, budget: int) -> dict[str, Any]:
    """Weights K[o, c] of some outputs for the kept channels, in full precision."""
    weight, groups = found.weight, found.groups
    outputs, per_group = weight.shape[:2]
    each = 4 * weight[0, 0].numel() * len(kept)
    count = min(OUTPUTS, max(1, budget // each), outputs)
    chosen = weight.flatten(1).norm(dim=1).argsort(descending=True)[:count].sort().values
    rows = []
    for output in chosen.tolist():
        group = output // (outputs // groups)
        inside = kept - group * per_group
        # in a grouped convolution an output sees the channels of its group alone
        sees = (inside >= 0) & (inside < per_group)
        row = weight[output, inside.clamp(0, per_group - 1)].flatten(1)
        rows.append(row * sees[:, None])
    data = torch.stack(rows).float().contiguous().numpy().astype("<f4").tobytes()
    return {"outputs": chosen.tolist(), "data": base64.b64encode(data).decode()}
