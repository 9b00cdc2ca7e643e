"""Whatever a user has of a trained network, as something that finds things in images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.errors import InvalidArgument
from rfaconv.export.metadata import exported_source
from rfaconv.export.runtimes import load_exported
from rfaconv.export.source import Source
from rfaconv.lab.predict import Prediction, Predictor, load_predictor
from rfaconv.lab.predict.networks import likeliest
from rfaconv.lab.sources import identify, read_network_of


def open_predictor(
    model: Path | str, *, threshold: float = 0.25, pretrained: bool = False
) -> Predictor:
    """Reads whatever a user has of a trained network.

    Args:
        model: see :func:`rfaconv.lab.sources.identify`. A ``.pt`` of ultralytics runs code when it
            is loaded: only open files that you trust.
        threshold: least score of a box.
        pretrained: whether timm may fetch the weights of a named network.

    Raises:
        InvalidArgument: it is none of these, or a named network without weights.
    """
    place = identify(model)
    if place.kind in ("predictor", "yolo"):
        return load_predictor(place.path, threshold=threshold)
    if place.kind == "exported":
        return exported_predictor(place.path, threshold=threshold)
    if place.kind == "name" and not pretrained:
        got = f"{place.path}, a network of timm without weights"
        raise InvalidArgument("model", "a trained network (or --pretrained)", got)
    source = read_network_of(place, pretrained)
    network = source.network.eval()

    def run(x: Tensor) -> Any:
        with torch.no_grad():
            return network(x)

    return image_predictor(source, run)


def exported_predictor(
    path: Path, threads: int | None = None, threshold: float = 0.25
) -> Predictor:
    """A file of ``rfaconv export`` in its own runtime, with the size and scale that it names.

    Raises:
        InvalidArgument: the file cannot be read, or says nothing of its images.
    """
    source = exported_source(path)
    return image_predictor(source, load_exported(path, threads=threads), threshold)


def image_predictor(
    source: Source, run: Callable[[Tensor], Any], threshold: float = 0.25
) -> Predictor:
    """A network with its own size and normalisation, by what it returns.

    Args:
        source: size, normalisation and names; of a detector, how boxes are chosen.
        run: from normalised images (1, C, H, W) to scores, or to all boxes with their scores.
        threshold: least score of a box.

    Raises:
        InvalidArgument: it returns something else, or other classes than are named.
    """
    if source.choice:
        return _detector(source, run, threshold)
    whole, names = output_of(source, run)
    normalised = normalise(source)

    def find(image: Tensor) -> Prediction:
        if whole:
            return Prediction(names, mask=_mask(source, run, normalised(image)))
        scores = run(normalised(resize_cropped(image, source)))
        return Prediction(names, classes=likeliest(scores.softmax(1)[0], names))

    return Predictor("segment" if whole else "classify", names, find)


def output_of(source: Source, run: Callable[[Tensor], Any]) -> tuple[bool, tuple[str, ...]]:
    """Whether scores are of every pixel, and the names of the classes.

    Raises:
        InvalidArgument: it returns something else, or other classes than are named.
    """
    outputs = run(torch.zeros(1, source.channels, *source.sample_size))
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 4):
        expected = "a network that returns scores of classes, or of classes in every pixel"
        raise InvalidArgument("model", expected, source.name)
    names = source.classes or tuple(str(index) for index in range(outputs.shape[1]))
    if len(names) != outputs.shape[1]:
        raise InvalidArgument("model", f"names for {outputs.shape[1]} classes", f"{len(names)}")
    return outputs.dim() == 4, names


def _mask(source: Source, run: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """The likeliest class of every pixel of a normalised image."""
    own = x.shape[-2:]
    if source.resize != "pad":
        x = F.interpolate(x, source.input_size, mode="bilinear", antialias=True)
    high, wide = x.shape[-2:]
    scores = run(_filled(x, high, wide, source.multiple, "replicate"))
    scores = scores[..., :high, :wide]
    if (high, wide) != own:
        scores = F.interpolate(scores, own, mode="bilinear")
    mask: Tensor = scores.argmax(1)[0]
    return mask


def _detector(source: Source, run: Callable[[Tensor], Any], threshold: float) -> Predictor:
    """A network to all boxes, scaled and filled up as torchvision's detectors do it."""
    from rfaconv.lab.networks.dense import choose_boxes

    names, normalised = source.classes, normalise(source)
    choice = {key: source.choice[key] for key in ("score", "iou", "candidates", "boxes")}

    def find(image: Tensor) -> Prediction:
        own_high, own_wide = image.shape[-2:]
        x = F.interpolate(normalised(image), scale_factor=_scale(source, own_high, own_wide),
                          mode="bilinear", recompute_scale_factor=True)  # fmt: skip
        high, wide = x.shape[-2:]
        size = source.sample_size if source.resize == "fit" else (high, wide)
        filled = _filled(x, *size, source.multiple, "constant")
        corners, sure, labels = choose_boxes(run(filled)[0], high, wide, **choice)
        corners = corners * torch.tensor([own_wide / wide, own_high / high] * 2)
        rows = zip(labels.tolist(), sure.tolist(), corners.tolist(), strict=True)
        return Prediction(names, boxes=tuple((names[i], s, tuple(b)) for i, s, b in rows
                                          if s >= threshold))  # fmt: skip

    return Predictor("detect", names, find)


def _scale(source: Source, high: int, wide: int) -> float:
    """By what an image is enlarged for a detector."""
    if source.resize == "fit":
        return min(source.sample_size[0] / high, source.sample_size[1] / wide)
    from rfaconv.lab.networks.detectors import check_shape

    side = min(source.input_size)
    return check_shape(high, wide, side, 2 * side)


def _filled(x: Tensor, high: int, wide: int, multiple: int, mode: str) -> Tensor:
    """An image with something at its right and its bottom: so large, up to a multiple."""
    sides = [side + -side % multiple for side in (wide, high)]
    padding = (0, sides[0] - x.shape[-1], 0, sides[1] - x.shape[-2])
    return F.pad(x, padding, mode=mode) if any(padding) else x


def resize_cropped(image: Tensor, source: Source) -> Tensor:
    """As in training: the shorter side to the network's size, and the centre."""
    high, wide = source.input_size
    steps = v2.Compose([v2.Resize(min(high, wide), antialias=True), v2.CenterCrop((high, wide))])
    result: Tensor = steps(image)
    return result


def normalise(source: Source) -> Callable[[Tensor], Tensor]:
    """From an image (3, H, W) of bytes to what the network takes, (1, channels, H, W)."""
    mean = torch.tensor(source.mean or (0.5,) * source.channels)[:, None, None]
    std = torch.tensor(source.std or (0.25,) * source.channels)[:, None, None]

    def normalised(image: Tensor) -> Tensor:
        shown = v2.functional.rgb_to_grayscale(image) if source.channels == 1 else image
        return ((shown.float() / 255 - mean) / std)[None]

    return normalised
