"""No gate: features without attention, the ablation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rfaconv.geometry import Window


def panel(x: Tensor, gate: Sequence[Tensor], window: Window) -> None:
    """Returns None: every gate is one."""
    return


def taps(x: Tensor, gate: Sequence[Tensor], window: Window) -> Callable[[int], None]:
    """Returns a function that returns None."""
    return lambda tap: None
