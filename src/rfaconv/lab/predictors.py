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
from rfaconv.lab.sources import identify, read_network_of
from rfaconv.predict import Finding, Predictor, load_predictor

BEST = 5
"""Classes of an image that are kept, the likeliest first."""


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
        return exported_predictor(place.path)
    if place.kind == "name" and not pretrained:
        got = f"{place.path}, a network of timm without weights"
        raise InvalidArgument("model", "a trained network (or --pretrained)", got)
    source = read_network_of(place, pretrained)
    network = source.network.eval()

    def run(x: Tensor) -> Any:
        with torch.no_grad():
            return network(x)

    return image_predictor(source, run)


def exported_predictor(path: Path, threads: int | None = None) -> Predictor:
    """A file of ``rfaconv export`` in its own runtime, with the size and scale that it names.

    Raises:
        InvalidArgument: the file cannot be read, or says nothing of its images.
    """
    source = exported_source(path)
    return image_predictor(source, load_exported(path, threads=threads))


def image_predictor(source: Source, run: Callable[[Tensor], Any]) -> Predictor:
    """A classifier or a segmenter with its own size and normalisation, by what it returns.

    Args:
        source: size, normalisation and names.
        run: from normalised images (1, C, H, W) to scores.

    Raises:
        InvalidArgument: it returns something else, or other classes than are named.
    """
    high, wide = source.input_size
    outputs = run(torch.zeros(1, source.channels, high, wide))
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 4):
        expected = "a network that returns scores of classes, or of classes in every pixel"
        raise InvalidArgument("model", expected, source.name)
    names = source.classes or tuple(str(index) for index in range(outputs.shape[1]))
    if len(names) != outputs.shape[1]:
        raise InvalidArgument("model", f"names for {outputs.shape[1]} classes", f"{len(names)}")
    whole = outputs.dim() == 4
    normalised = normalise(source)

    def find(image: Tensor) -> Finding:
        shown = resize_stretched(image, source) if whole else resize_cropped(image, source)
        scores = run(normalised(shown))
        if whole:
            full = F.interpolate(scores, image.shape[-2:], mode="bilinear")
            return Finding(names, mask=full.argmax(1)[0])
        return Finding(names, classes=likeliest(scores.softmax(1)[0], names))

    return Predictor("segment" if whole else "classify", names, find)


def likeliest(chances: Tensor, names: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Names and probabilities, the likeliest first, at most ``BEST``."""
    order = chances.argsort(descending=True)[:BEST].tolist()
    return tuple((names[i], float(chances[i])) for i in order)


def resize_cropped(image: Tensor, source: Source) -> Tensor:
    """As in training: the shorter side to the network's size, and the centre."""
    high, wide = source.input_size
    steps = v2.Compose([v2.Resize(min(high, wide), antialias=True), v2.CenterCrop((high, wide))])
    result: Tensor = steps(image)
    return result


def resize_stretched(image: Tensor, source: Source) -> Tensor:
    """The whole image at the network's size."""
    result: Tensor = v2.Resize(source.input_size, antialias=True)(image)
    return result


def normalise(source: Source) -> Callable[[Tensor], Tensor]:
    """From an image (3, H, W) of bytes to what the network takes, (1, channels, H, W)."""
    mean = torch.tensor(source.mean or (0.5,) * source.channels)[:, None, None]
    std = torch.tensor(source.std or (0.25,) * source.channels)[:, None, None]

    def normalised(image: Tensor) -> Tensor:
        shown = v2.functional.rgb_to_grayscale(image) if source.channels == 1 else image
        return ((shown.float() / 255 - mean) / std)[None]

    return normalised
