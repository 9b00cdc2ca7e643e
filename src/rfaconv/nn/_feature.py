"""The operator without its attention, for ablations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from rfaconv.nn._receptive_field import ReceptiveFieldConv


class FeatureConv2d(ReceptiveFieldConv, nn.Conv2d):
    """The receptive-field feature times the weight, every gate 1: RFAConv without attention.

    RFAConv with every gate at 1 / T for T taps is this layer with a weight T times as large:
    whoever asks for uniform gates in training trains this.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.
    """

    variant: ClassVar[str] = "none"

    def make_attention(self, device: Any, dtype: Any) -> None:
        """There is none to make."""

    def reset_attention(self) -> None:
        """There is none to initialise."""

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns none: all gates are 1."""
        return ()
