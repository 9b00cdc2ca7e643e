"""First and second moments of the patches of a map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rfaconv._autocast import in_given_dtype
from rfaconv.geometry import Window
from rfaconv.reference.features import (
    accumulation_dtype,
    fixed_size,
    functorch_active,
    pad,
    recorded,
    tap_slice,
    tracing,
)

_LARGE = 2.0**40


@in_given_dtype
def patch_moments(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Mean ``m = E[u]`` and covariance ``S = E[u u^T] - m m^T`` of the patches of each channel.

    Args:
        x: input (B, C, *size).
        window: the sliding window; padding zeros belong to the patches.

    Returns:
        m (C, T) and S (C, T, T), in float64. S is the biased covariance.
    """
    if recorded(x) and not functorch_active() and not tracing():
        # keeps x alone for the backward pass instead of nine shifted copies of it
        result: tuple[Tensor, Tensor] = checkpoint(
            _moments, x, window, use_reentrant=False, preserve_rng_state=False
        )
        return result
    return _moments(x, window)


def _moments(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    channels = fixed_size(x.shape[1])
    padded = pad(x.to(accumulation_dtype(x.dtype)), window)
    # products of centred values: S stays exact where the mean is large against the deviation. The
    # centre is that of one tap, which sees no pixel that no window sees.
    middle = tuple(k // 2 for k in window.kernel)
    seen, others = padded.detach()[tap_slice(middle, window)], (0, *range(2, x.dim()))
    shift = seen.mean(others, keepdim=True)
    # 1 but for values whose products float32 could not hold
    large = torch.linalg.vector_norm(seen, 1, others, keepdim=True).clamp_min(_LARGE)
    scale = _LARGE / large
    padded = torch.addcmul(-shift * scale, padded, scale)
    taps = [padded[tap_slice(index, window)] for index in window.tap_indices()]
    patches = torch.stack(taps, dim=0).flatten(3)  # (T, B, C, P/B)
    patches = patches.permute(2, 0, 1, 3).reshape(channels, window.taps, -1)  # (C, T, P)
    count = patches.shape[-1]
    mean = patches.sum(-1, dtype=torch.float64) / count
    second = (patches @ patches.mT).double() / count
    cov = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
    unit = scale.double().reshape(channels, 1)
    return mean / unit + shift.reshape(channels, 1), cov / unit.square().unsqueeze(-1)
