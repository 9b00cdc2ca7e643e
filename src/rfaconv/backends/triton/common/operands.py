"""What the kernels are given: geometry as plain numbers, small operands in the layout that the
kernels read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.parameter_kernels import fill_table
from rfaconv.geometry import Window
from rfaconv.ops.schema import memory_format_of

__all__ = [
    "Geometry",
    "channels_last",
    "gate_operands",
    "kernel_matrix",
    "new_map",
    "strides",
    "table",
    "tables",
]

GROUP = 16
"""Channels that lie together in the table; the kernels' constant of the same name."""

WIDEST = 64
"""Channels of the widest tile."""


@dataclass(frozen=True)
class Geometry:
    """Sizes and window of one call, and the images of a chunk of it."""

    window: Window
    batch: int
    channels: int
    size: tuple[int, int]
    out: tuple[int, int]
    wide: bool

    @classmethod
    def of(cls, x: Tensor, window: Sequence[int], outputs: int = 0) -> Geometry:
        """Geometry of a map (B, C, H, W) and of the ``outputs`` channels that are made from it."""
        win = Window.from_ints(window)
        batch, channels = x.size(0), x.size(1)
        height, width = win.output_size((x.size(2), x.size(3)))
        largest = max(
            1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True) if n > 0),
            batch * outputs * height * width,
            batch * win.taps * height * width,  # gates and statistics of rfcbam
            batch * channels * win.taps * max(height, width),  # those of rfca, at most
            channels * win.taps * height * width,  # the panel of one image
            channels * win.kernel[0] * height * x.size(3),  # rows of the gradient of one image
        )
        size = (x.size(2), x.size(3))
        return cls(win, batch, channels, size, (height, width), largest >= 2**31)

    def part(self, x: Tensor) -> Geometry:
        """Geometry of some images of the map: few of them do with addresses of 32 bits, which
        leave more registers.
        """
        return Geometry.of(x, self.window.to_ints())

    @property
    def taps(self) -> int:
        """Number of inputs under the kernel, T."""
        return self.window.taps

    @property
    def positions(self) -> int:
        """Output pixels of one image."""
        return self.out[0] * self.out[1]

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """The arguments that every kernel names alike."""
        return {
            "C": self.channels, "H": self.size[0], "W": self.size[1], "HO": self.out[0],
            "WO": self.out[1],
            **strides("x", x, "bchw"),
            "KH": self.window.kernel[0], "KW": self.window.kernel[1],
            "SH": self.window.stride[0], "SW": self.window.stride[1],
            "PT": self.window.padding[0][0], "PL": self.window.padding[1][0],
            "DH": self.window.dilation[0], "DW": self.window.dilation[1],
            "WIDE": self.wide,
        }  # fmt: skip


def strides(name: str, value: Tensor, letters: str) -> dict[str, int]:
    """Strides of a tensor as kernel arguments, for example ``x_sb``."""
    return {
        f"{name}_s{letter}": stride for letter, stride in zip(letters, value.stride(), strict=True)
    }


def channels_last(x: Tensor) -> bool:
    """Whether the channels of a map lie next to each other, in eights that one load can take: they
    begin at multiples of 16 bytes.

    Example:
        >>> channels_last(torch.zeros(2, 16, 4, 4).to(memory_format=torch.channels_last))
        True
    """
    outer = (s * x.element_size() for n, s in zip(x.shape, x.stride(), strict=True) if n > 1)
    return (
        x.stride(1) == 1
        and x.size(1) % 8 == 0
        and x.data_ptr() % 16 == 0
        and all(step % 16 == 0 for step in outer if step != x.element_size())
    )


def empty_table(like: Tensor, channels: int, taps: int) -> Tensor:
    """Room for the table, to the widest tile of channels, so that kernels read without a mask."""
    groups = cdiv(channels, WIDEST) * (WIDEST // GROUP)
    size = (groups, taps * taps + 2 * taps + 2, GROUP)
    return torch.empty(size, dtype=torch.float32, device=like.device)


def table(
    feature_weight: Tensor, feature_bias: Tensor, variant: str = "", gate: Sequence[Tensor] = ()
) -> Tensor:
    """The table of rows; see :func:`tables`."""
    return tables(feature_weight, feature_bias, variant, gate)[0]


def tables(
    feature_weight: Tensor,
    feature_bias: Tensor,
    variant: str = "",
    gate: Sequence[Tensor] = (),
    *,
    packed: bool = False,
) -> tuple[Tensor, Tensor]:
    """The parameters of every channel: rows (groups, T * T + 2 T + 2, GROUP), and packed (groups,
    (T + 1) * Q, GROUP, 4) with Q the least that holds T + 2 numbers; the same again if not wanted.

    Rows: G', b', and for rfa w with its largest and smallest entry (else zeros). Packed: Q fours
    for every tap with G'_j, b'_j and w_j, then Q with w and its largest and smallest entry; a
    thread reads four numbers at once. Padded with zeros to the widest tile of channels.
    """
    channels, taps = feature_bias.shape
    result = empty_table(feature_weight, channels, taps)
    width = (taps + 5) // 4
    size = (result.size(0), (taps + 1) * width, GROUP, 4)
    fours = torch.empty(size, dtype=result.dtype, device=result.device) if packed else result
    longest = max(result.size(1), size[1] * 4) if packed else result.size(1)
    gated = variant == "rfa"
    launch(
        fill_table,
        (result.size(0),),
        feature_weight,
        {
            "p_g": feature_weight.contiguous(), "p_b": feature_bias.contiguous(),
            "p_w": gate[0].contiguous() if gated else feature_bias, "p_t": result,
            "p_packed": fours, "C": channels, "T": taps, "ROWS": power_of_two(longest),
            "TAPS": power_of_two(taps), "GATED": gated, "PACKED": packed,
        },
        num_warps=4,
    )  # fmt: skip
    return result, fours


def power_of_two(size: int) -> int:
    """The smallest power of two that is not below ``size``.

    Example:
        >>> power_of_two(9)
        16
    """
    return 1 << max(0, size - 1).bit_length()


def gate_operands(variant: str, gate: Sequence[Tensor], fallback: Tensor) -> tuple[Tensor, Tensor]:
    """The gate tensors in float32 with channels last; ``fallback`` stands for one that the variant
    lacks.
    """
    if variant not in ("rfcbam", "rfca"):
        return fallback, fallback
    first, second = (g.float() for g in gate)
    if variant == "rfcbam":
        return first.contiguous(), second.contiguous()
    return first.transpose(1, 2).contiguous(), second.transpose(1, 2).contiguous()


def kernel_matrix(weight: Tensor) -> Tensor:
    """K as (O, T, C); no copy for a channels_last weight."""
    return weight.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def new_map(x: Tensor, size: Sequence[int]) -> Tensor:
    """An uninitialised map in the memory format of ``x``."""
    return torch.empty(
        tuple(size), dtype=x.dtype, device=x.device, memory_format=memory_format_of(x)
    )
