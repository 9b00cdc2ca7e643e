"""Networks of every task as one thing: what they see, what they find, and by which number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from rfaconv.export.source import Source
from rfaconv.lab.explain.cams import activation_map
from rfaconv.lab.predict import Prediction
from rfaconv.lab.predict.networks import boxes_of, likeliest
from rfaconv.lab.predict.ultralytics import find_in, open_yolo
from rfaconv.lab.predictors import normalise, output_of, resize_cropped
from rfaconv.lab.sources import identify, read_network_of

MULTIPLE = 32
YOLO_SIDE = 640
OVERLAP = 0.5
"""Of a box and one that a network gives, from which on they are the same object."""


@dataclass(frozen=True)
class View:
    """A network on images, whatever its task.

    Attributes:
        network: takes normalised images (1, channels, h, w).
        task: ``classify``, ``detect`` or ``segment``.
        names: of the classes.
        shown: from an image (3, H, W) of bytes to what the network sees of it, (3, h, w) of bytes.
        tensor: from what is seen to what the network takes.
        find: from what is seen to what is in it.
        score: from the network's output, what was found and a class (None for that of
            :func:`subject`) to the number that is explained.
    """

    network: nn.Module
    task: str
    names: tuple[str, ...]
    shown: Callable[[Tensor], Tensor]
    tensor: Callable[[Tensor], Tensor]
    find: Callable[[Tensor], Prediction]
    score: Callable[[Any, Prediction, str | None], Tensor]

    def heat(
        self, seen: Tensor, found: Prediction, target: str | None, method: str = "gradcam"
    ) -> Tensor:
        """The activation map of a class on what is seen; of :func:`subject` for None."""
        x = self.tensor(seen)
        return activation_map(self.network, x, lambda out: self.score(out, found, target), method)

    def inputs(self, seen: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
        """What layers get of what is seen, in their order; of a layer's last call."""
        inputs: dict[int, Tensor] = {}

        def keep(layer: nn.Module, args: Any) -> None:
            inputs[id(layer)] = args[0].detach()

        handles = [layer.register_forward_pre_hook(keep) for layer in layers]
        try:
            with torch.no_grad():
                self.network(self.tensor(seen))
        finally:
            for handle in handles:
                handle.remove()
        return [inputs[id(layer)] for layer in layers if id(layer) in inputs]


def open_view(model: str | Path, *, threshold: float = 0.25, pretrained: bool = False) -> View:
    """Reads a network by a user's word for it.

    Args:
        model: see :func:`rfaconv.lab.sources.identify`; no exported file, which has no gradients.
            A ``.pt`` of ultralytics runs code when it is loaded: only open files that you trust.
        threshold: least score of a box.
        pretrained: whether timm may fetch the weights of a named network.

    Raises:
        InvalidArgument: it is none of these.
    """
    place = identify(model)
    if place.kind == "yolo":
        return _yolo(place.path, threshold)
    return view_of(read_network_of(place, pretrained), threshold)


def view_of(source: Source, threshold: float = 0.25) -> View:
    """A network of PyTorch with its own size and normalisation.

    Raises:
        InvalidArgument: it returns neither scores of classes, nor of classes in every pixel, nor
            boxes.
    """
    network = source.network.eval()
    if source.task == "detect":
        return _detector(source, threshold)
    with torch.no_grad():
        whole, names = output_of(source, network)
    if whole:
        return _segmenter(source, names)
    tensor = normalise(source)

    def find(shown: Tensor) -> Prediction:
        with torch.no_grad():
            return Prediction(names, classes=likeliest(network(tensor(shown)).softmax(1)[0], names))

    def score(output: Tensor, found: Prediction, target: str | None) -> Tensor:
        return output[0, names.index(target or subject(found))]

    return View(network, "classify", names, lambda image: resize_cropped(image, source), tensor,
                find, score)  # fmt: skip


def subject(found: Prediction) -> str:
    """The class that is explained: the likeliest, or that of most pixels but the background."""
    if found.classes:
        return found.classes[0][0]
    if found.mask is not None:
        counts = torch.bincount(found.mask.flatten(), minlength=len(found.names)).float()
        counts[0] *= 1e-6  # the background only where there is nothing else
        return found.names[int(counts.argmax())]
    return found.boxes[0][0] if found.boxes else found.names[0]


def said(found: Prediction, most: int = 1) -> str:
    """What was found in a few words; of classes the ``most`` likeliest."""
    if found.classes:
        return ", ".join(f"{name} {share:.0%}" for name, share in found.classes[:most])
    return f"{len(found.boxes)} boxes" if found.boxes is not None else ""


def _segmenter(source: Source, names: tuple[str, ...]) -> View:
    network, tensor = source.network, normalise(source)

    def shown(image: Tensor) -> Tensor:
        return _resized(image, *(_whole(side) for side in source.input_size))

    def find(seen: Tensor) -> Prediction:
        with torch.no_grad():
            return Prediction(names, mask=network(tensor(seen)).argmax(1)[0])

    def score(output: Tensor, found: Prediction, target: str | None) -> Tensor:
        index = names.index(target or subject(found))
        assert found.mask is not None
        there = found.mask == index
        chosen = output[0, index]
        return chosen[there].mean() if bool(there.any()) else chosen.mean()

    return View(network, "segment", names, shown, tensor, find, score)


class _Listed(nn.Module):
    """A detector of torchvision that takes a batch of images of one size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """What the detector returns."""
        return self.network(list(x))


def _detector(source: Source, threshold: float) -> View:
    network, names = _Listed(source.network).eval(), source.classes
    side = _whole(source.input_size[0])

    def shown(image: Tensor) -> Tensor:
        high, wide = image.shape[-2:]
        scale = min(side / min(high, wide), 2 * side / max(high, wide))
        return _resized(image, _whole(high * scale), _whole(wide * scale))

    def tensor(seen: Tensor) -> Tensor:
        return seen[None].float() / 255

    def find(seen: Tensor) -> Prediction:
        with torch.no_grad():
            found = network(tensor(seen))[0]
        return Prediction(names, boxes=boxes_of(found, names, threshold))

    def score(output: Any, found: Prediction, target: str | None) -> Tensor:
        rows = output[0]
        dense = torch.stack([(rows["labels"] == i + 1) for i in range(len(names))], 1)
        return _of_boxes(rows["boxes"], dense * rows["scores"][:, None], found, target)

    return View(network, "detect", names, shown, tensor, find, score)


def _of_boxes(boxes: Tensor, scores: Tensor, found: Prediction, target: str | None) -> Tensor:
    """Sum of the scores (N, classes) of those boxes (N, 4) that were found, each once."""
    total = scores.sum() * 0
    for name, _, box in found.boxes or ():
        if target is not None and name != target:
            continue
        there = box_iou(torch.tensor([box]), boxes.detach())[0] >= OVERLAP
        if bool(there.any()):
            total = total + scores[there, found.names.index(name)].max()
    if not (found.boxes or ()) and scores.numel():
        return scores.max()  # nothing is above the threshold: why not
    return total


class _First(nn.Module):
    """The first tensor of what a network of ultralytics returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Boxes and scores, or probabilities."""
        output = self.network(x)
        while not isinstance(output, Tensor):
            output = output[0]
        return output


def _yolo(path: Path, threshold: float) -> View:
    yolo = open_yolo(path)
    names = tuple(yolo.names[i] for i in sorted(yolo.names))
    # a prediction fuses and freezes its own copy of the layers
    network = _First(copy.deepcopy(yolo.model).float().cpu()).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    side = int((getattr(yolo.model, "args", None) or {}).get("imgsz") or YOLO_SIDE)

    def shown(image: Tensor) -> Tensor:
        if yolo.task == "classify":
            return _resized(image, side, side)
        scale = side / max(image.shape[-2:])
        return _resized(image, *(_whole(edge * scale) for edge in image.shape[-2:]))

    def tensor(seen: Tensor) -> Tensor:
        return seen[None].float() / 255

    def find(seen: Tensor) -> Prediction:
        if yolo.task == "classify":
            with torch.no_grad():
                return Prediction(names, classes=likeliest(network(tensor(seen))[0], names))
        rows = find_in(yolo, seen, threshold).to_json()["boxes"]
        boxes = tuple((row["name"], row["score"], tuple(row["box"])) for row in rows)
        return Prediction(names, boxes=boxes)

    def score(output: Tensor, found: Prediction, target: str | None) -> Tensor:
        if yolo.task == "classify":
            chance = output[0, names.index(target or subject(found))]
            return chance.clamp_min(1e-12).log()
        return _of_boxes(*_rows(output[0], len(names)), found, target)

    task = "classify" if yolo.task == "classify" else "detect"
    return View(network, task, names, shown, tensor, find, score)


def _rows(output: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) by their corners and scores (N, classes) in what a detection head returns."""
    if output.shape[0] >= 4 + classes and output.shape[1] > 6:
        centre, size = output[:2].T, output[2:4].T
        return torch.cat([centre - size / 2, centre + size / 2], 1), output[4 : 4 + classes].T
    # one row for each object: corners, score, class
    chosen = F.one_hot(output[:, 5].detach().long().clamp(0, classes - 1), classes)
    return output[:, :4], chosen * output[:, 4:5]


def _whole(side: float) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)


def _resized(image: Tensor, high: int, wide: int) -> Tensor:
    if image.shape[-2:] == (high, wide):
        return image
    x = F.interpolate(image[None].float(), (high, wide), mode="bilinear", antialias=True)
    return x[0].round().clamp(0, 255).to(torch.uint8)
