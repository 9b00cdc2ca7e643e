"""Files of trained networks that say what they are, and what they see in an image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.lab.networks.detectors import DETECTORS, build_detector
from rfaconv.lab.networks.segmenters import SEGMENTERS, build_segmenter, scores
from rfaconv.lab.predict.prediction import Prediction
from rfaconv.lab.predict.ultralytics import UltralyticsPrediction, find_in, open_yolo
from rfaconv.surgery.structure import converted_structure_

TASKS = ("classify", "detect", "segment")
BEST = 5
"""Classes of an image that are kept, the likeliest first."""


@dataclass(frozen=True)
class Predictor:
    """Finds things in images.

    Attributes:
        task: ``classify``, ``detect`` or ``segment``; of ultralytics ``pose`` and ``obb`` too.
        names: of the classes.
        find: from an image (3, H, W), uint8, to what is in it.
    """

    task: str
    names: tuple[str, ...]
    find: Callable[[Tensor], Prediction | UltralyticsPrediction]


def save_predictor(
    path: Path | str,
    network: nn.Module,
    *,
    task: str,
    kind: str,
    backbone: str,
    names: Sequence[str],
    converted: str | None = None,
    **settings: float | Sequence[float] | None,
) -> None:
    """Writes a trained network as safetensors that say how to build it.

    Args:
        path: the file.
        network: of :func:`rfaconv.lab.networks.detectors.build_detector` or
            :func:`rfaconv.lab.networks.segmenters.build_segmenter`, or a timm classifier.
        task: ``classify``, ``detect`` or ``segment``.
        kind: of detector or segmenter; ``timm`` for a classifier.
        backbone: the timm model.
        names: of the classes.
        converted: the operator that ``convert_`` put into the backbone with ``init="preserve"``.
        settings: as the network was built with: ``size`` and ``channels`` of a detector,
            ``output_stride`` of a segmenter, ``width`` of both; ``size``, ``mean`` and ``std`` of
            images to classify, the latter two of images in [0, 1] (ImageNet's if not given);
            ``image_size``, height and width to which images are scaled before a segmenter.

    Raises:
        InvalidArgument: an unknown task.
    """
    from safetensors.torch import save

    from rfaconv.files import write_atomic

    if task not in TASKS:
        raise InvalidArgument("task", f"one of {', '.join(TASKS)}", repr(task))
    description = {
        "task": task,
        "kind": kind,
        "backbone": backbone,
        "names": list(names),
        "converted": converted,
        "settings": settings,
    }
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    write_atomic(Path(path), save(state, metadata={"rfaconv": json.dumps(description)}))


def load_predictor(path: Path | str, *, threshold: float = 0.25) -> Predictor:
    """Reads a network of :func:`save_predictor`, or a ``.pt`` of ultralytics.

    Args:
        path: a ``.safetensors`` file, or a ``.pt`` of ultralytics, which runs code when it is
            loaded: only open files that you trust.
        threshold: least score of a box.

    Raises:
        InvalidArgument: the file is missing or none of these.
    """
    path = Path(path)
    if not 0 <= threshold <= 1:
        raise InvalidArgument("threshold", "a number in [0, 1]", threshold)
    if path.suffix == ".pt" and path.is_file():
        return _yolo(path, threshold)
    network, about = read_network(path)
    make = {"classify": _classifier, "detect": _detector, "segment": _segmenter}[about["task"]]
    return Predictor(about["task"], tuple(about["names"]), make(network, about, threshold))


def read_network(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a file of :func:`save_predictor`, in evaluation mode, and its description.

    Raises:
        InvalidArgument: the file is missing or another one.
    """
    path = Path(path)
    expected = "a .safetensors file of rfaconv or a .pt file of ultralytics"
    if not path.is_file():
        raise InvalidArgument("weights", expected, f"no file {path}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("rfaconv")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InvalidArgument("weights", expected, f"{path}: {error}") from error
    if text is None:
        raise InvalidArgument("weights", f"{expected} (save_predictor)", str(path))
    try:
        about: dict[str, Any] = json.loads(text)
        if about["task"] not in TASKS:
            raise ValueError(f"task {about['task']!r}")
        network = _build(about)
        if about.get("converted"):
            converted_structure_(network, about["converted"], state)
        network.load_state_dict(state)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        got = f"{path}, whose description does not fit its weights ({reason})"
        raise InvalidArgument("weights", expected, got) from error
    return network.eval(), about


def _build(about: dict[str, Any]) -> nn.Module:
    count, settings = len(about["names"]), about["settings"]
    if about["kind"] in DETECTORS:
        return build_detector(about["kind"], about["backbone"], count, **settings)
    if about["kind"] in SEGMENTERS:
        building = {k: v for k, v in settings.items() if k != "image_size"}
        return build_segmenter(about["kind"], about["backbone"], count, **building)
    import timm

    import rfaconv.models  # noqa: F401  # registers the networks

    network: nn.Module = timm.create_model(about["backbone"], num_classes=count)
    return network


Find = Callable[[Tensor], Prediction]


def normalisation_of(about: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of images in [0, 1] that a described network takes.

    Those of its settings, of ImageNet for a classifier without; segmenters take x * 4 - 2, and
    detectors normalise by themselves.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    settings, task = about["settings"], about["task"]
    if task == "classify":
        mean = settings.get("mean") or IMAGENET_DEFAULT_MEAN
        return tuple(mean), tuple(settings.get("std") or IMAGENET_DEFAULT_STD)
    # x * 4 - 2 = (x - 1/2) / (1/4)
    return ((0.5,) * 3, (0.25,) * 3) if task == "segment" else ((0.0,) * 3, (1.0,) * 3)


def _classifier(net: nn.Module, about: dict[str, Any], threshold: float) -> Find:
    names, size = tuple(about["names"]), about["settings"].get("size") or 224
    mean, std = (torch.tensor(part)[:, None, None] for part in normalisation_of(about))

    def find(image: Tensor) -> Prediction:
        x = F.interpolate(image[None].float() / 255, (size, size), mode="bilinear", antialias=True)
        with torch.no_grad():
            chances = net((x - mean) / std).softmax(1)[0]
        return Prediction(names, classes=likeliest(chances, names))

    return find


def _detector(net: nn.Module, about: dict[str, Any], threshold: float) -> Find:
    names = tuple(about["names"])

    def find(image: Tensor) -> Prediction:
        with torch.no_grad():
            found = net([image.float() / 255])[0]
        return Prediction(names, boxes=boxes_of(found, names, threshold))

    return find


def likeliest(chances: Tensor, names: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Names and probabilities, the likeliest first, at most ``BEST``."""
    order = chances.argsort(descending=True)[:BEST].tolist()
    return tuple((names[i], float(chances[i])) for i in order)


def boxes_of(
    found: dict[str, Tensor], names: tuple[str, ...], threshold: float
) -> tuple[tuple[str, float, tuple[float, ...]], ...]:
    """What a detector of torchvision returns of an image as names, scores and corners."""
    rows = zip(found["labels"], found["scores"], found["boxes"].tolist(), strict=True)
    # label 0 is the background, which an untrained head may be sure of
    boxes = [
        (names[int(i) - 1], float(s), tuple(b)) for i, s, b in rows if i > 0 and s >= threshold
    ]
    return tuple(sorted(boxes, key=lambda row: -row[1]))


def _segmenter(net: nn.Module, about: dict[str, Any], threshold: float) -> Find:
    names, settings = tuple(about["names"]), about["settings"]

    def find(image: Tensor) -> Prediction:
        x, shape = image[None].float() / 255, image.shape[-2:]
        size = tuple(settings.get("image_size") or shape)
        if size != shape:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        with torch.no_grad():
            found = scores(net, x)
        if size != shape:
            found = F.interpolate(found, shape, mode="bilinear")
        return Prediction(names, mask=found.argmax(1)[0])

    return find


def _yolo(path: Path, threshold: float) -> Predictor:
    yolo = open_yolo(path)
    names = tuple(yolo.names[i] for i in sorted(yolo.names))
    return Predictor(yolo.task, names, lambda image: find_in(yolo, image, threshold))
