"""Gradients of the features: the panel again, the input's gradient, and the sums over pixels.

Nothing here uses atomic operations, so results are deterministic always.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rfaconv.backends.triton import configs
from rfaconv.backends.triton.backward_kernels import (
    SOURCES,
    gather_patches,
    parameter_backward,
    patch_backward,
)
from rfaconv.backends.triton.gates import CODES
from rfaconv.backends.triton.launch import cdiv, launch
from rfaconv.backends.triton.operands import Geometry
from rfaconv.backends.triton.parameter_kernels import join_sums
from rfaconv.backends.triton.walk_kernels import gather_rows, walk_backward

__all__ = ["FeatureGradients", "feature_gradients_of", "gather", "joint"]


class FeatureGradients:
    """What is summed over pixels for the feature parameters and the gate, by programs."""

    def __init__(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        geometry: Geometry,
        source: int,
        linked: bool,
    ) -> None:
        self.x, self.geometry, self.source, self.linked = x, geometry, source, linked
        # whether there is a gate of a channel
        self.scaled = source == (SOURCES["rfcbam"] if linked else CODES["rfcbam"])
        self.rows, self.quads = tables
        self.splits = self.split()
        taps = geometry.taps
        size = (geometry.batch * self.splits, taps, taps + 2, geometry.channels)
        self.sums = self.rows.new_empty(size)

    def split(self) -> int:
        """Programs that share the pixels of an image."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Elements per image of the workspace for the input's gradient."""
        raise NotImplementedError

    def run(
        self,
        first: int,
        last: int,
        operands: Sequence[Tensor],
        d_panel: Tensor,
        panel: Tensor | None,
        du: Tensor | None,
    ) -> None:
        """Fills panel, ``du`` and the sums for the images ``first`` to ``last``."""
        raise NotImplementedError

    def gather(self, du: Tensor, dx: Tensor) -> None:
        """Sums ``du`` into the map ``dx`` of the same images."""
        raise NotImplementedError

    def shared(
        self, first: int, last: int, operands: Sequence[Tensor], d_panel: Tensor
    ) -> dict[str, Any]:
        """Arguments of every kernel that goes through the images ``first`` to ``last``."""
        x = self.x[first:last]
        return {
            "p_x": x, "p_t": self.rows, "p_0": operands[0], "p_1": operands[1],
            "p_s": operands[2], "p_da": d_panel, **self.geometry.arguments(x),
            "SOURCE": self.source,
        }  # fmt: skip

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


class _Rows(FeatureGradients):
    """A walk along rows of output pixels; see ``walk_kernels``."""

    def split(self) -> int:
        self.config = configs.along_rows(self.geometry.channels, self.geometry.out)
        return cdiv(self.geometry.out[0], self.config.length)

    @property
    def width(self) -> int:
        geometry = self.geometry
        lines = geometry.out[0] * geometry.window.kernel[0]
        return lines * geometry.size[1] * geometry.channels

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
        config, channels = self.config, self.geometry.channels
        launch(
            walk_backward,
            ((last - first) * self.splits, cdiv(channels, config.block_c)),
            self.x,
            {
                **self.shared(first, last, operands, d_panel),
                "p_t": self.quads, "p_2": operands[-1],
                "p_panel": d_panel if panel is None else panel,
                "p_rows": d_panel if du is None else du, "p_sums": self.part(first, last),
                "segments": self.splits, "length": config.length,
                "WITH_PANEL": panel is not None, "WITH_DU": du is not None, "LINKED": self.linked,
                "FENCED": configs.older() and self.source >= 4, "BLOCK_C": config.block_c,
            },
            num_warps=config.warps,
        )  # fmt: skip

    def gather(self, du: Tensor, dx: Tensor) -> None:
        """Sums the rows into the map ``dx`` of the same images."""
        gather(gather_rows, {"p_rows": du}, dx, self.geometry)


class _Patches(FeatureGradients):
    """Gradients of whole patches, and the sums apart: any window."""

    def split(self) -> int:
        geometry = self.geometry
        self.walk = configs.walk(
            geometry.taps, geometry.channels, geometry.positions, wide=geometry.wide
        )
        return cdiv(geometry.positions, self.walk.length)

    @property
    def width(self) -> int:
        return self.geometry.positions * self.geometry.taps * self.geometry.channels

    def run(
        self,
        first: int,
        last: int,
        operands: Sequence[Tensor],
        d_panel: Tensor,
        panel: Tensor | None,
        du: Tensor | None,
    ) -> None:
        """Fills panel, the patches' gradients ``du`` and the sums for some images."""
        geometry, walk = self.geometry, self.walk
        tile = configs.tile(geometry.taps, geometry.channels)
        pixels, channels = (last - first) * geometry.positions, geometry.channels
        gated = self.source == CODES["rfa"]
        dot = self.rows.new_empty((pixels, channels)) if gated else self.rows
        shared = {**self.shared(first, last, operands, d_panel), "p_dot": dot}
        launch(
            patch_backward,
            (cdiv(pixels, tile.block_p), cdiv(channels, tile.block_c)),
            self.x,
            {
                **shared, "p_panel": d_panel if panel is None else panel,
                "p_du": d_panel if du is None else du, "pixels": pixels,
                "WITH_PANEL": panel is not None,
                "WITH_DU": du is not None, "VECTOR": tile.vector,
                "BLOCK_P": tile.block_p, "BLOCK_C": tile.block_c,
            },
            num_warps=tile.warps,
        )  # fmt: skip
        launch(
            parameter_backward,
            ((last - first) * self.splits, cdiv(channels, walk.block_c), cdiv(geometry.taps,
            walk.rows)),
            self.x,
            {
                **shared, "p_sums": self.part(first, last),
                "splits": self.splits, "length": walk.length, "TAPS": walk.rows,
                "BLOCK_P": walk.block_p, "BLOCK_C": walk.block_c,
            },
            num_warps=walk.warps,
        )  # fmt: skip

    def gather(self, du: Tensor, dx: Tensor) -> None:
        """Sums the patches' gradients into the map ``dx`` of the same images."""
        gather(gather_patches, {"p_du": du}, dx, self.geometry)


def gather(kernel: Any, source: dict[str, Tensor], dx: Tensor, geometry: Geometry) -> None:
    """Sums parts of gradients into the map ``dx``, every pixel once."""
    config = configs.gather(geometry.channels)
    pixels = dx.size(0) * dx.size(2) * dx.size(3)
    launch(
        kernel,
        (cdiv(pixels, config.block_p), cdiv(geometry.channels, config.block_c)),
        dx,
        {
            **source, "p_dx": dx, "pixels": pixels, **geometry.arguments(dx),
            "BLOCK_P": config.block_p, "BLOCK_C": config.block_c,
        },
        num_warps=config.warps,
    )  # fmt: skip


def joint(geometry: Geometry) -> bool:
    """Whether one walk does it all, which reads the table of quads."""
    window = geometry.window
    # addresses of 64 bits leave no room for all sums
    return configs.walks(window.kernel, window.dilation) and not geometry.wide


def feature_gradients_of(
    x: Tensor,
    tables: tuple[Tensor, Tensor],
    geometry: Geometry,
    source: int,
    *,
    linked: bool = False,
) -> FeatureGradients:
    """The way that fits the window; ``tables`` as :func:`operands.tables` gives them.

    ``linked``: the source is statistics, and the panel's gradient counts as well; only where
    :func:`joint`. Operands are then gradients of the statistics and the gates; see the kernel.
    """
    return (_Rows if joint(geometry) else _Patches)(x, tables, geometry, source, linked)
