"""Several networks on the same images: where each looks, and what its gates let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from rfaconv.effective import effective_kernels, pixel_gates
from rfaconv.lab.explain.figures import Panel, draw_panel, names_as_they_are
from rfaconv.lab.explain.images import chosen_layers
from rfaconv.lab.explain.views import View, said

CELL = 1.9
"""Inches of a picture."""


def activation_figure(
    views: Mapping[str, View], images: Sequence[tuple[Tensor, str | None]]
) -> Figure:
    """Grad-CAM of every network on every image, for the class that is true.

    Where it is not known, and for boxes and masks, each network explains what it finds.

    Args:
        views: networks of one task by their names.
        images: bytes (3, H, W), each with its class or None.
    """

    def panel(view: View, image: Tensor, truth: str | None) -> Panel | None:
        seen = view.shown(image)
        found = view.find(seen)
        target = truth if truth in view.names and view.task == "classify" else None
        return Panel(said(found), seen, view.heat(seen, found, target))

    return _grid(views, images, panel)


def gate_figure(views: Mapping[str, View], images: Sequence[tuple[Tensor, str | None]]) -> Figure:
    """Gates of the first operator layer of every network that has one, on every image.

    Each picture has a scale of its own, whose end is written over it. Without such a network the
    figure is empty.

    Args:
        views: networks by their names.
        images: bytes (3, H, W), each with its class or None.
    """
    first = {name: list(chosen_layers(view.network).values())[:1] for name, view in views.items()}
    gated = {name: view for name, view in views.items() if first[name]}
    if not gated:
        return Figure()
    layers = {id(gated[name]): first[name][0] for name in gated}

    def panel(view: View, image: Tensor, truth: str | None) -> Panel | None:
        seen, layer = view.shown(image), layers[id(view)]
        inputs = view.inputs(seen, [layer])
        gate = effective_kernels(layer, inputs[0][:1]).gate
        heat = pixel_gates(gate, layer, tuple(inputs[0].shape[2:]))[0]
        reach = float((heat.double() - 1).abs().quantile(0.99).clamp_min(0.005))
        return Panel(f"1 ± {reach:.2g}", seen, heat, "gates")

    return _grid(gated, images, panel)


def _grid(
    views: Mapping[str, View],
    images: Sequence[tuple[Tensor, str | None]],
    panel: Callable[[View, Tensor, str | None], Panel | None],
) -> Figure:
    """One row for each image: it, then the picture of each network."""
    columns = 1 + len(views)
    size = (CELL * columns, (CELL + 0.25) * len(images) + 0.3)
    with names_as_they_are():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(images), columns, squeeze=False)
    for row, (image, truth) in zip(axes, images, strict=True):
        draw_panel(row[0], Panel(truth or "image", image))
        for axis, view in zip(row[1:], views.values(), strict=True):
            made = panel(view, image, truth)
            if made is not None:
                draw_panel(axis, made, bar=False)
        for axis in row:
            axis.title.set_fontsize(8)
    for axis, name in zip(axes[0][1:], views, strict=True):
        axis.set_title(f"{name}\n{axis.get_title(loc='left')}", fontsize=9, loc="left")
    return figure
