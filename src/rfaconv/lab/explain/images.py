"""All panels of one image: prediction, truth, activation maps, gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.effective import effective_kernels, operator_layers, pixel_gates
from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.explain.figures import Panel
from rfaconv.lab.explain.views import View, said, subject
from rfaconv.lab.predict import Prediction

LABELS = {
    "gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM",
    "hirescam": "HiResCAM", "eigencam": "EigenCAM",
}  # fmt: skip


@dataclass(frozen=True)
class Explained:
    """One image explained.

    Attributes:
        panels: the pictures.
        found: what the network finds.
        target: the class that the maps explain; empty for all boxes.
        right: whether prediction and truth agree, for a class; None where nothing is known.
    """

    panels: tuple[Panel, ...]
    found: Prediction
    target: str
    right: bool | None


def chosen_layers(network: nn.Module, wanted: Sequence[str] = ()) -> dict[str, nn.Conv2d]:
    """The operators of these names; without names the first and the last.

    Raises:
        InvalidArgument: there is no operator of a name.
    """
    layers = operator_layers(network)
    # what wraps a network has one child of this name
    short = {name.removeprefix("network."): name for name in layers}
    if not wanted:
        names = list(short)
        return {name: layers[short[name]] for name in dict.fromkeys([*names[:1], *names[-1:]])}
    for name in wanted:
        if name not in short:
            if not short:
                raise InvalidArgument("layers", "none: the network has no operator", name)
            raise unknown_name("layers", name, list(short))
    return {name: layers[short[name]] for name in wanted}


def explain_image(
    view: View,
    image: Tensor,
    *,
    truth: Any = None,
    plain: View | None = None,
    layers: Sequence[str] = (),
    methods: Sequence[str] = ("gradcam",),
    target: str | None = None,
) -> Explained:
    """Panels of one image for one network, and beside it for its plain counterpart.

    Args:
        view: the network.
        image: bytes (3, H, W).
        truth: the name of a class, boxes of the image and names of their classes, or a mask of
            class numbers (H, W); None where it is not known.
        plain: a network to compare with; its maps explain the same class.
        layers: operators whose gates are shown; the first and the last if none is named.
        methods: of :data:`rfaconv.lab.explain.cams.METHODS`.
        target: the class that is explained; None for the one that is found.

    Raises:
        InvalidArgument: an unknown layer, method or class.
    """
    if target is not None and target not in view.names:
        raise unknown_name("target", target, view.names)
    gated = chosen_layers(view.network, layers)
    seen = view.shown(image)
    found = view.find(seen)
    boxes = view.task == "detect"
    meant = target or (subject(found) if not boxes else None)
    right = None
    if found.classes:
        known = f"truth: {truth}" if truth is not None else "image"
        bars = Panel("prediction", seen, bars=found.classes, marked=truth or "")
        panels = [Panel(known, seen), bars]
        right = None if truth is None else subject(found) == truth
    else:
        panels = [Panel("prediction", found.draw(seen), note=said(found))]
        if truth is not None:
            panels.append(_truth(view, image, seen, truth))
    for name, each in (("", view), ("plain: ", plain)):
        if each is None or (meant is not None and meant not in each.names):
            continue
        own = each.shown(image)
        there = found if own.shape == seen.shape and boxes else each.find(own)
        for method in methods:
            panels.append(_map(name, each, own, there, meant, method))
    panels += _gates(view, seen, gated)
    return Explained(tuple(panels), found, meant or "", right)


def _map(
    name: str, view: View, seen: Tensor, found: Prediction, meant: str | None, method: str
) -> Panel:
    heat = view.heat(seen, found, meant, method)
    heat = F.interpolate(heat[None, None], seen.shape[-2:], mode="bilinear")[0, 0]
    title = f"{name}{LABELS[method]} of {meant or 'the boxes'}"
    return Panel(title, seen, heat, note=said(found) if name else "")


def _gates(view: View, seen: Tensor, layers: dict[str, nn.Conv2d]) -> list[Panel]:
    inputs = view.inputs(seen, list(layers.values()))
    panels = []
    for (name, layer), x in zip(layers.items(), inputs, strict=True):
        kernels = effective_kernels(layer, x)
        gates = pixel_gates(kernels.gate, layer, tuple(x.shape[2:]))[0]
        note = f"{type(layer).__name__}, {x.shape[2]} x {x.shape[3]}, windows share "
        note += f"{kernels.sharing:.0%} of their gates"
        panels.append(Panel(f"gates of {name}", seen, gates, "gates", note))
    return panels


def _truth(view: View, image: Tensor, seen: Tensor, truth: Any) -> Panel:
    if isinstance(truth, Tensor):
        mask = F.interpolate(truth[None, None].float(), seen.shape[-2:], mode="nearest")[0, 0]
        return Panel("truth", Prediction(view.names, mask=mask.long()).draw(seen))
    boxes, names = truth
    scale = torch.tensor([seen.shape[2] / image.shape[2], seen.shape[1] / image.shape[1]] * 2)
    rows = [(n, 1.0, tuple((b * scale).tolist())) for b, n in zip(boxes, names, strict=True)]
    known = tuple(dict.fromkeys([*view.names, *names]))
    return Panel(
        "truth", Prediction(known, boxes=tuple(rows)).draw(seen), note=f"{len(rows)} boxes"
    )
