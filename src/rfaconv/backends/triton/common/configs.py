"""Which tiles a kernel runs with: a table by shape class.

The table was filled from registers, stack and shared memory of the compiled kernels for sm_80 and
sm_90 (no spills anywhere), not from times; see docs/gpu.md.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "EIGHTS",
    "FOURS",
    "LONGEST",
    "PANEL",
    "STATS_TENSOR_CORES",
    "ProjectConfig",
    "RowConfig",
    "TileConfig",
    "along_rows",
    "gather",
    "join",
    "lines",
    "panel_groups",
    "project",
    "supports_tensor_cores",
    "tile",
]


@dataclass(frozen=True)
class ProjectConfig:
    """Tiles of the forward projection.

    Attributes:
        path: ``tensor_cores``, features and product on tensor cores; ``fused``, the product alone
            on them; or ``panel``, the panel of a chunk and a library product: then the rest says
            nothing, the panel takes the tiles of :func:`tile`.
        block_p: Pixels of a tile.
        block_c: Channels of a tile; of one step of the loop, eight or sixteen, where
            ``tensor_cores``.
        block_o: Outputs of a tile.
        vector: Neighbouring channels that one thread takes; says nothing where ``tensor_cores``.
        warps: Warps of a block.
        stages: Depth of the software pipeline.
    """

    path: str
    block_p: int = 0
    block_c: int = 0
    block_o: int = 0
    vector: int = 0
    warps: int = 0
    stages: int = 0


@dataclass(frozen=True)
class TileConfig:
    """Tiles of a kernel without a product: pixels, channels, neighbouring channels per thread,
    warps.
    """

    block_p: int
    block_c: int
    vector: int
    warps: int


@dataclass(frozen=True)
class RowConfig:
    """Tiles of a scan along rows of output pixels: rows of one program, channels, warps."""

    length: int
    block_c: int
    warps: int


def _power(value: int, low: int, high: int) -> int:
    """The smallest power of two that holds ``value``, within bounds."""
    return min(high, max(low, 1 << max(0, value - 1).bit_length()))


def supports_tensor_cores(dtype: str, taps: int, channels: int, *, last: bool) -> bool:
    """Whether features are a product too: of 3 x 3 kernels and 16-bit maps with channels last.

    With an odd number of eights loads are narrower and the kernels spill.
    """
    return taps == 9 and dtype != "float32" and last and channels % 16 == 0


def project(
    dtype: str,
    taps: int,
    outputs: int,
    *,
    tensor_cores: bool,
    variant: str = "",
    channels: int = 16,
    last: bool = True,
    hopper: bool = True,
) -> ProjectConfig:
    """The configuration of the forward projection.

    Args:
        dtype: Name of the dtype.
        taps: T.
        outputs: O.
        tensor_cores: Whether products of this dtype may use tensor cores (float32 only with TF32
            allowed).
        variant: The gate.
        channels: C.
        last: Whether the channels of the map lie next to each other, in eights.
        hopper: Whether the device has compute capability 9.0 or above.

    Example:
        >>> project("bfloat16", 9, 64, tensor_cores=True).path
        'tensor_cores'
    """
    if not tensor_cores:
        return ProjectConfig("panel")
    block_o = _power(outputs, 16, 256)
    if supports_tensor_cores(dtype, taps, channels, last=last):
        block_o = min(block_o, 256 if hopper else 128)
        # four warps share what every tile loads among more pixels of a thread, as long as results
        # fit; sixteen channels at a time do the same, as long as two stages of them fit
        warps = 4 if block_o <= 64 and (hopper or variant != "rfcbam") else 8
        block_c = 16 if hopper and block_o == 128 and variant != "rfca" else 8
        config = ProjectConfig("tensor_cores", 128, block_c, block_o, 8, warps, 2)
    else:
        narrow = 128 if channels % 16 == 0 else 64
        # maps without channels last need a pointer for every input, which leaves fewer registers;
        # else two groups of warps side by side compute the same features, which is less than
        # computing them again for another block of outputs
        few = dtype == "float32" or block_o <= narrow or not last
        config = ProjectConfig(
            "fused", 64, 16, min(block_o, 128 if few else 256), 2, 4 if few else 8, 2
        )
    most = config.block_o if config.path == "tensor_cores" else 256
    # with more than one block of outputs the panel is cheaper to write than to compute again
    return ProjectConfig("panel") if outputs > most else config


def tile(channels: int) -> TileConfig:
    """Tiles of the kernels that hold one patch per pixel and channel."""
    block_c = _power(channels, 16, 32)
    return TileConfig(512 // block_c, block_c, 2, 4)


PANEL = TileConfig(128, 8, 8, 4)
"""Tiles of the panel where its features are a product."""


def panel_groups(programs: int, channels: int) -> int:
    """Times eight channels that a program of the panel takes, where there are so many tiles of
    pixels: what it finds out about its pixels serves them all, but every multiprocessor wants a
    few programs.

    Example:
        >>> panel_groups(25, 256), panel_groups(1000, 256)
        (2, 16)
    """
    groups = 16
    while groups > 1 and programs * -(-channels // (8 * groups)) < 400:
        groups //= 2
    return groups


STATS_TENSOR_CORES = TileConfig(128, 8, 8, 4)
"""Tiles of the statistics where features are a product."""


EIGHTS = TileConfig(64, 8, 8, 2)
"""Tiles of a reduction over channels that lie next to each other: one pixel and eight channels per
thread, which it reduces alone.
"""


FOURS = TileConfig(64, 4, 4, 2)
"""The same where a thread also writes two numbers for every one: with eight channels it spills."""


def gather(channels: int) -> TileConfig:
    """Tiles of the gather of the rows of the input's gradient."""
    block_c = _power(channels, 16, 64)
    return TileConfig(1024 // block_c, block_c, 8, 4)


def join(parts: int) -> TileConfig:
    """Tiles of a sum of what ``parts`` programs left: parts, and numbers of each."""
    return TileConfig(_power(parts, 16, 128), 32, 1, 8)


LONGEST = 256
"""Pixels that the moments sum in float32 before float64."""


def along_rows(channels: int, out: tuple[int, ...], pixels: int = 128) -> RowConfig:
    """Rows of about ``pixels`` output pixels: enough programs, and few sums to write.

    Example:
        >>> along_rows(64, (14, 14))
        RowConfig(length=7, block_c=64, warps=2)
    """
    segments = -(-out[0] // max(1, pixels // max(1, out[1])))
    block_c = _power(channels, 32, 64)
    return RowConfig(-(-out[0] // max(1, segments)), block_c, block_c // 32)


def lines(channels: int, *, tight: int = 0) -> RowConfig:
    """Rows that one program of both directions of rfca takes at once; ``tight``: how many fewer
    than four, where it needs more registers than there are.
    """
    block_c = _power(channels, 32, 64)
    return RowConfig(4 - tight, block_c, block_c // 32)
