"""Heat over an image, large and with a colour bar; several beside each other as one figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from rfaconv.files import as_text

SIDE = 4.2
"""Inches of a panel."""
DPI = 110
COLUMNS = 3
HEAT, GATES = "inferno", "RdBu_r"
BAR, TRUE = "#2878dc", "#2b8a3e"


@dataclass(frozen=True)
class Panel:
    """One picture of an explanation.

    Attributes:
        title: above it.
        image: bytes (3, h, w).
        heat: (h, w) over it; None for the image alone.
        kind: of heat: ``heat``, from 0 to 1, or ``gates``, around 1.
        note: below it.
        bars: names and shares in [0, 1] in place of the image, for the classes of a prediction.
        marked: the name among them that is true.
    """

    title: str
    image: Tensor
    heat: Tensor | None = None
    kind: str = "heat"
    note: str = ""
    bars: tuple[tuple[str, float], ...] = ()
    marked: str = ""


def draw_panel(axis: Any, panel: Panel, bar: bool = True) -> None:
    """Draws a panel on axes of matplotlib.

    Args:
        axis: the axes.
        panel: what to draw.
        bar: whether with a colour bar.
    """
    pixels = panel.image.permute(1, 2, 0).numpy()
    axis.set_title(as_text(panel.title), fontsize=11, loc="left")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    if panel.note:
        axis.set_xlabel(as_text(panel.note), fontsize=9, color="#555555", loc="left")
    if panel.bars:
        _draw_bars(axis, panel)
        return
    if panel.heat is None:
        axis.imshow(pixels, interpolation="nearest")
        return
    # over grey, so that every colour is one of the heat
    axis.imshow(pixels.mean(-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    heat = panel.heat.double().numpy()
    extent = (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)
    if panel.kind == "gates":
        # the outermost hundredth does not set the scale; rounded, so that bars can be compared
        reach = max(float(np.quantile(np.abs(heat - 1), 0.99)), 0.005)
        limits = {"cmap": GATES, "vmin": 1 - reach, "vmax": 1 + reach}
    else:
        limits = {"cmap": HEAT, "vmin": 0.0, "vmax": 1.0}
    shown = axis.imshow(heat, alpha=0.62, interpolation="nearest", extent=extent, **limits)
    if bar:
        label = "gate / its mean" if panel.kind == "gates" else "share of the largest"
        scale = axis.figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
        scale.solids.set_alpha(1)
        scale.set_label(label, fontsize=9)
        scale.ax.tick_params(labelsize=8)
        scale.outline.set_visible(False)


def _draw_bars(axis: Any, panel: Panel) -> None:
    names = [name for name, _ in panel.bars]
    shares = [share for _, share in panel.bars]
    places = range(len(names))
    colours = [TRUE if name == panel.marked else BAR for name in names]
    axis.barh(places, [1.0] * len(names), color="#eceef0", height=0.34)
    axis.barh(places, shares, color=colours, height=0.34)
    for place, (name, share) in enumerate(panel.bars):
        weight = "bold" if place == 0 else "normal"
        true = "  (true)" if name == panel.marked else ""
        axis.text(
            0, place - 0.25, f"{as_text(name)}{true}", fontsize=11, weight=weight, va="bottom"
        )
        axis.text(1, place - 0.25, f"{share:.1%}", fontsize=11, ha="right", va="bottom")
    axis.set(xlim=(0, 1), ylim=(max(4, len(names)) - 0.4, -0.8), aspect="auto", box_aspect=1)


def figure_of(panels: Sequence[Panel], columns: int = COLUMNS, title: str = "") -> Figure:
    """All panels as one figure of matplotlib."""
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    with names_as_they_are():
        figure = Figure(figsize=(SIDE * 1.2 * columns, SIDE * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw_panel(axis, panel)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        if title:
            figure.suptitle(as_text(title), fontsize=12, x=0.01, ha="left")
    return figure


def names_as_they_are() -> Any:
    """A context in which matplotlib takes no dollar sign of a name for a formula."""
    return rc_context({"text.parse_math": False})


def png_of(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
