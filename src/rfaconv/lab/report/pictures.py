"""Pictures of a comparison's report: where the trained networks look, and their gates."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import RFAConvError
from rfaconv.lab.data.decoding import read_pixels
from rfaconv.lab.progress import Cell
from rfaconv.lab.report.write import Picture
from rfaconv.lab.store import Store
from rfaconv.lab.study import Grid

IMAGES = 4
SEEN = "Grad-CAM: which parts of an image the score of its class, or of its boxes, rests on. "
SEEN += "Above each picture stands what the network says of it."
LET = "Gates of the first operator layer, averaged over channels and windows and divided by their "
LET += "mean: red parts are let through more than the rest, blue parts less. The ends of the "
LET += "colours stand above each picture."


def report_pictures(
    store: Store, grid: Grid, data: Mapping[str, Any]
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Pictures of every recipe by the networks of the first seed, and what could not be made.

    Args:
        store: the results folder, whose runs of the first seed have weights.
        grid: what was compared.
        data: the images of each recipe.
    """
    if find_spec("pytorch_grad_cam") is None or find_spec("matplotlib") is None:
        return {}, ["no pictures of what the networks look at: pip install 'rfaconv[explain]'"]
    from rfaconv.lab.explain.compared import activation_figure, gate_figure
    from rfaconv.lab.explain.figures import png_of
    from rfaconv.lab.explain.views import View, open_view

    made: dict[str, list[Picture]] = {}
    notes: list[str] = []
    for name in grid.recipes:
        views: dict[str, View] = {}
        for operator in grid.operators:
            try:
                views[operator] = open_view(store.run(Cell(name, operator, grid.seeds[0])))
            except RFAConvError as error:
                notes.append(f"no pictures of {name} with {operator}: {error}")
        if not views:
            continue
        images = _images(data[name])
        figure = activation_figure(views, images)
        made[name] = [Picture("Where the networks look", SEEN, png_of(figure))]
        figure = gate_figure(views, images)
        if figure.axes:
            made[name].append(Picture("What their gates let through", LET, png_of(figure)))
    return made, notes


def _images(data: Any) -> list[tuple[Tensor, str | None]]:
    """Validation images spread over the set, bytes (3, H, W), with their class if they have one."""
    count = min(IMAGES, len(data.val))
    chosen = [int((i + 0.5) * len(data.val) / count) for i in range(count)]
    if getattr(data.val, "labels", None) is None:
        if isinstance(data.val[0], Path):  # of a YOLO
            return [(read_pixels(data.val[i]), None) for i in chosen]
        return [((data.val[i][0] * 255).round().to(torch.uint8), None) for i in chosen]
    images, found = data.val.__getitems__(chosen)
    wide = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    return [
        (image.contiguous(), data.classes[int(label)])
        for image, label in zip(wide, found, strict=True)
    ]
