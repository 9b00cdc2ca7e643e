"""A whole layer in inference as one op.

It has no derivative: where autograd records, the layer runs stage by stage. What the parameters
mean is said at :func:`rfaconv.functional.attend.attend`, which calls it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.ops.schema import define, fake, memory_format_of

__all__ = ["DEFINITION"]

DEFINITION = {
    # feature_norm and attention_norm: running mean, running variance, scale, shift; or empty
    "attend": (
        "(Tensor x, Tensor feature_weight, Tensor? feature_bias, Tensor?[] feature_norm, "
        "float feature_eps, Tensor[] attention, Tensor?[] attention_bias, "
        "Tensor?[] attention_norm, float attention_eps, Tensor weight, Tensor? bias, "
        "str variant, int groups, int[] window, str backend) -> Tensor y"
    )
}

define(DEFINITION)


@fake("attend")
def _attend(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor | None,
    feature_norm: Sequence[Tensor | None],
    feature_eps: float,
    attention: Sequence[Tensor],
    attention_bias: Sequence[Tensor | None],
    attention_norm: Sequence[Tensor | None],
    attention_eps: float,
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
    backend: str,
) -> Tensor:
    torch._check(x.dim() == 4, lambda: f"x: expected (B, C, H, W), got shape {tuple(x.shape)}")
    height, width = Window.from_ints(window).output_size((x.size(2), x.size(3)))
    size = (x.size(0), weight.size(0), height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))
