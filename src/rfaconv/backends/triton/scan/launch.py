"""Gradients of the features as a row scan: the panel again, the input's gradient, and the sums over
pixels.

Nothing here uses atomic operations, so results are deterministic always.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.launch import cdiv, launch
from rfaconv.backends.triton.common.operands import Geometry
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.scan.kernels import SOURCES, gather_rows, join_sums, scan_backward

__all__ = ["FeatureGradients", "gather", "row_elements"]


class FeatureGradients:
    """What is summed over pixels for the feature parameters and the gate, by programs.

    Args:
        x: The map of all images.
        packed: The packed parameters; see ``operands.tables``.
        geometry: Of the map.
        source: A gate of ``CODES``, or statistics of ``SOURCES``.
        linked: The source is statistics, and the panel's gradient counts as well. Operands are then
            gradients of the statistics, and the gates; see the kernel.
    """

    def __init__(
        self, x: Tensor, packed: Tensor, geometry: Geometry, source: int, *, linked: bool = False
    ) -> None:
        self.x, self.packed, self.geometry = x, packed, geometry
        self.source, self.linked = source, linked
        # whether there is a gate of a channel
        self.scaled = source == (SOURCES["rfcbam"] if linked else CODES["rfcbam"])
        self.config = configs.along_rows(geometry.channels, geometry.out)
        self.splits = cdiv(geometry.out[0], self.config.length)
        taps = geometry.taps
        size = (geometry.batch * self.splits, taps, taps + 2, geometry.channels)
        self.sums = packed.new_empty(size)

    @property
    def width(self) -> int:
        """Elements per image of the workspace for the input's gradient."""
        return row_elements(self.geometry)

    def run(
        self,
        first: int,
        last: int,
        operands: Sequence[Tensor],
        d_panel: Tensor,
        panel: Tensor | None,
        du: Tensor | None,
    ) -> None:
        """Fills panel, the rows ``du`` and the sums for the images ``first`` to ``last``."""
        config, x = self.config, self.x[first:last]
        channels = self.geometry.channels
        launch(
            scan_backward,
            ((last - first) * self.splits, cdiv(channels, config.block_c)),
            x,
            {
                "p_x": x, "p_t": self.packed, "p_0": operands[0], "p_1": operands[1],
                "p_s": operands[2], "p_2": operands[-1], "p_da": d_panel,
                "p_panel": d_panel if panel is None else panel,
                "p_rows": d_panel if du is None else du, "p_sums": self.part(first, last),
                "segments": self.splits, "length": config.length,
                **self.geometry.part(x).arguments(x), "SOURCE": self.source,
                "WITH_PANEL": panel is not None, "WITH_DU": du is not None, "LINKED": self.linked,
                "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip

    def part(self, first: int, last: int) -> Tensor:
        """The sums of some images."""
        return self.sums[first * self.splits : last * self.splits]

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """DG' (C, T, T), db' (C, T), and the gradient of w (C, T) of rfa, or of the channel gate
        (B, C) of rfcbam.
        """
        channels, taps = self.geometry.channels, self.geometry.taps
        # the channel gate has one gradient per image, all others are sums over the batch
        images = self.geometry.batch if self.scaled else 0
        dg = self.sums.new_empty((channels, taps, taps))
        db = self.sums.new_empty((channels, taps))
        gated = self.scaled or self.source == CODES["rfa"]
        dgate = self.sums.new_empty((images, channels) if images else db.shape) if gated else db
        programs = self.sums.size(0)
        config = configs.join(programs)
        launch(
            join_sums,
            (taps * (taps + 2) + images, cdiv(channels, config.block_c)),
            self.x,
            {
                "p_sums": self.sums, "p_dg": dg, "p_db": db, "p_dgate": dgate,
                "programs": programs, "splits": self.splits, "C": channels, "T": taps,
                "SOURCE": CODES["rfcbam"] if self.scaled else self.source,
                "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip
        return dg, db, dgate


def row_elements(geometry: Geometry) -> int:
    """Elements of the rows (Ho, KH, W, C) of the input's gradient of one image."""
    lines = geometry.out[0] * geometry.window.kernel[0]
    return lines * geometry.size[1] * geometry.channels


def gather(rows: Tensor, dx: Tensor, geometry: Geometry) -> None:
    """Sums the rows into the map ``dx`` of the same images, every pixel once."""
    config = configs.gather(geometry.channels)
    pixels = dx.size(0) * dx.size(2) * dx.size(3)
    launch(
        gather_rows,
        (cdiv(pixels, config.block_p), cdiv(geometry.channels, config.block_c)),
        dx,
        {
            "p_rows": rows, "p_dx": dx, "pixels": pixels, **geometry.part(dx).arguments(dx),
            "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip
