"""Which tiles a kernel runs with: a table by shape class, and the candidates among which tuning may
choose.

Tuning is not part of any signature. The table was filled from registers, stack and shared memory of
the compiled kernels for sm_80 and sm_90 (no spills anywhere); docs/gpu.md says which of its choices
a measurement has confirmed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

__all__ = [
    "JOINT_TAPS",
    "PANEL",
    "STATS_BLOCKS",
    "ProjectConfig",
    "TileConfig",
    "WalkConfig",
    "blocks",
    "gather",
    "join",
    "join_wide",
    "lag_filter",
    "lag_sums",
    "moments",
    "older",
    "panel_groups",
    "project",
    "project_candidates",
    "rows",
    "strip",
    "tile",
    "walk",
]


@dataclass(frozen=True)
class ProjectConfig:
    """Tiles of the forward projection.

    Attributes:
        way: ``blocks``, features and product on tensor cores; ``fused``, the product alone on
            them; or ``panel``, the panel of a chunk and a library product: then the rest says
            nothing, the panel takes the tiles of :func:`tile`.
        block_p: Pixels of a tile.
        block_c: Channels of a tile; of one step of the loop, eight or sixteen, where ``blocks``.
        block_o: Outputs of a tile.
        vector: Neighbouring channels that one thread takes; says nothing where ``blocks``.
        warps: Warps of a block.
        stages: Depth of the software pipeline.
    """

    way: str
    block_p: int
    block_c: int
    block_o: int
    vector: int
    warps: int
    stages: int


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
class WalkConfig:
    """Tiles of a walk over pixels.

    Attributes:
        block_p: Pixels at a time.
        block_c: Channels of a program.
        warps: Warps of a block.
        length: Pixels of one program.
        rows: Rows of a (T, T) sum that one program keeps.
    """

    block_p: int
    block_c: int
    warps: int
    length: int
    rows: int


@functools.cache
def older() -> bool:
    """Whether Triton is older than 3.8: then a few kernels (every use of this function) spill with
    the tiles that are best otherwise, for parameters are loaded long before they are needed.
    """
    try:
        import triton
    except ImportError:
        return False
    major, minor, *_ = triton.__version__.split(".")
    return (int(major), int(minor)) < (3, 8)


def _power(value: int, low: int, high: int) -> int:
    """The smallest power of two that holds ``value``, within bounds."""
    return min(high, max(low, 1 << max(0, value - 1).bit_length()))


def project(
    dtype: str,
    taps: int,
    outputs: int,
    *,
    tensor_cores: bool,
    variant: str = "",
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
        last: Whether the channels of the map lie next to each other, in eights.
        hopper: Whether the device has compute capability 9.0 or above.

    Example:
        >>> project("bfloat16", 9, 64, tensor_cores=True).way
        'blocks'
    """
    return project_candidates(
        dtype, taps, outputs, tensor_cores=tensor_cores, variant=variant, last=last, hopper=hopper
    )[0]


def blocks(dtype: str, taps: int, channels: int, *, last: bool) -> bool:
    """Whether features are a product too: of 3 x 3 kernels and 16-bit maps with channels last.

    With an odd number of eights loads are narrower and the kernels spill.
    """
    return taps == 9 and dtype != "float32" and last and channels % 16 == 0


def project_candidates(
    dtype: str,
    taps: int,
    outputs: int,
    *,
    tensor_cores: bool,
    variant: str = "",
    channels: int = 16,
    last: bool = True,
    hopper: bool = True,
) -> tuple[ProjectConfig, ...]:
    """Configurations worth timing for a class of shapes, the default first."""
    panel = ProjectConfig("panel", 0, 0, 0, 0, 0, 0)
    if not tensor_cores:
        return (panel,)
    block_o = _power(outputs, 16, 256)
    if taps > 9:
        return (panel, ProjectConfig("fused", 32, 16, min(block_o, 128), 2, 8, 2))
    if blocks(dtype, taps, channels, last=last):
        tile_o = min(block_o, 256 if hopper else 128)
        # four warps share what every tile loads among more pixels of a thread, as long as results
        # fit; sixteen channels at a time do the same, as long as two stages of them fit
        few = tile_o <= 64 and (hopper or variant != "rfcbam")
        warps = 4 if few and not (variant == "rfa" and older()) else 8
        block_c = 16 if hopper and tile_o == 128 and variant != "rfca" else 8
        ways = [ProjectConfig("blocks", 128, block_c, tile_o, 8, warps, 2)]
        if hopper:
            ways.append(ProjectConfig("blocks", 64, 8, min(block_o, 128), 8, 4, 2))
        return (panel, *ways) if outputs > tile_o else (*ways, panel)
    narrow = 128 if channels % 16 == 0 else 64
    if dtype == "float32" or block_o <= narrow or not last:
        # maps without channels last need a pointer for every input, which leaves fewer registers
        warps = 8 if older() and not hopper and not last else 4
        fused = ProjectConfig("fused", 64, 16, min(block_o, 128), 2, warps, 2)
    else:
        # two groups of warps side by side compute the same features, which is less than computing
        # them again for another block of outputs
        fused = ProjectConfig("fused", 64, 16, block_o, 2, 8, 2)
    # with more than one block of outputs the panel is cheaper to write than to compute again
    return (panel, fused) if outputs > 256 else (fused, panel)


def tile(taps: int, channels: int) -> TileConfig:
    """Tiles of the kernels that hold one patch per pixel and channel."""
    block_c = _power(channels, 16, 32)
    return TileConfig((512 if taps <= 9 else 256) // block_c, block_c, 2 if taps <= 9 else 1, 4)


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


STATS_BLOCKS = TileConfig(128, 8, 8, 4)
"""Tiles of the statistics where features are a product."""


EIGHTS = TileConfig(64, 8, 8, 2)
"""Tiles of a reduction over channels that lie next to each other: one pixel and eight channels per
thread, which it reduces alone.
"""


FOURS = TileConfig(64, 4, 4, 2)
"""The same where a thread also writes two numbers for every one: with eight channels it spills."""


def gather(channels: int) -> TileConfig:
    """Tiles of the gather of the patches' gradients."""
    block_c = _power(channels, 16, 64)
    return TileConfig(1024 // block_c, block_c, 8, 4)


def join(parts: int) -> TileConfig:
    """Tiles of a sum of what ``parts`` programs left: parts, and numbers of each."""
    return TileConfig(_power(parts, 16, 128), 32, 1, 8)


def join_wide(parts: int) -> TileConfig:
    """The same in float64 and for few numbers, so that a program has more to load at once."""
    return TileConfig(_power(parts, 16, 512), 16, 1, 8)


JOINT_TAPS = 9
"""Most taps of which one program keeps all T * T sums over pixels."""


@dataclass(frozen=True)
class RowConfig:
    """Tiles of a walk along rows of output pixels: rows of one program, channels, warps."""

    length: int
    block_c: int
    warps: int


def along_rows(channels: int, out: tuple[int, ...], pixels: int = 128) -> RowConfig:
    """Rows of about ``pixels`` output pixels: enough programs, and few sums to write.

    Example:
        >>> along_rows(64, (14, 14))
        RowConfig(length=7, block_c=64, warps=2)
    """
    segments = -(-out[0] // max(1, pixels // max(1, out[1])))
    block_c = _power(channels, 32, 64)
    return RowConfig(-(-out[0] // max(1, segments)), block_c, block_c // 32)


@dataclass(frozen=True)
class StripConfig:
    """Tiles of a walk along several rows at once.

    Attributes:
        rows: Rows of a program.
        columns: Pixels of each row at a time, a divisor of the width.
        images: Images of a program that goes along a border.
        parts: Pixels of a border at a time, a divisor of height and width.
        block_c: Channels of a program.
        warps: Warps of a block.
    """

    rows: int
    columns: int
    images: int
    parts: int
    block_c: int
    warps: int


def strip(channels: int, size: tuple[int, int], pixels: int, most: int) -> StripConfig:
    """Rows of at most ``pixels`` pixels, about ``most`` of which a program reads at a time.

    Example:
        >>> strip(64, (14, 14), 256, 64)
        StripConfig(rows=7, columns=7, images=3, parts=7, block_c=64, warps=2)
    """
    height, width = size
    rows = -(-height // -(-height // min(7, max(1, pixels // width))))
    columns = _divisor(width, most // (rows + 2))
    images = -(-32 // max(size))
    block_c = _power(channels, 32, 64)
    return StripConfig(rows, columns, images, _divisor(math.gcd(*size), 8), block_c, block_c // 32)


def lag_sums(channels: int, size: tuple[int, int]) -> StripConfig:
    """Tiles of the moments by lags; at most 256 pixels meet in float32, then float64."""
    return strip(channels, size, 256, 64)


def lag_filter(channels: int, size: tuple[int, int]) -> StripConfig:
    """Tiles of their gradient, of which a thread keeps five columns."""
    return strip(channels, size, 128, 36)


def _divisor(value: int, most: int) -> int:
    """The largest divisor that is not above ``most`` and 8."""
    return max(n for n in range(1, max(1, min(most, 8)) + 1) if value % n == 0)


def lines(channels: int, *, tight: bool = False) -> RowConfig:
    """Rows that one program of both directions of rfca takes at once; ``tight``: where it needs
    more registers than there are for four.
    """
    block_c = _power(channels, 32, 64)
    return RowConfig(3 if tight or older() else 4, block_c, block_c // 32)


def walks(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether the backward pass walks along rows: neighbouring windows must share columns."""
    return kernel[0] * kernel[1] <= JOINT_TAPS and (dilation[1] == 1 or kernel[1] == 1)


def rows(taps: int, *, each: bool = False) -> int:
    """Taps of a program that reduces over channels: more would not fit into the registers.

    ``each``: whether a thread reduces the channels of its pixel alone (tiles :data:`EIGHTS`).
    """
    if each and older():
        return min(taps, 3)
    return taps if taps <= JOINT_TAPS else 1


def walk(taps: int, channels: int, positions: int, *, wide: bool = False) -> WalkConfig:
    """Tiles of the sums over pixels: one channel per thread, so that they stay in registers.

    Addresses of 64 bits (``wide``) leave room for fewer of them.
    """
    block_c = _power(channels, 16, 64)
    kept = 1 if taps > JOINT_TAPS else min(taps, 3) if wide else taps
    return WalkConfig(64 // block_c, block_c, 2, min(positions, 256) or 1, kept)


def moments(taps: int, channels: int, pixels: int) -> WalkConfig:
    """Tiles of the moments; at most 256 pixels meet in float32, then float64."""
    block_c = _power(channels, 16, 64)
    return WalkConfig(64 // block_c, block_c, 2, 256, taps if taps <= JOINT_TAPS else 3)
