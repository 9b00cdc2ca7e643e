"""What any trained network, of a run or a file, gets right on a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data import DataSpec, load_data
from rfaconv.lab.data.folder import list_folder
from rfaconv.lab.data.load import SAMPLE
from rfaconv.lab.data.masks import IGNORED
from rfaconv.lab.looking import Seen, look
from rfaconv.lab.predict import Predictor, frames
from rfaconv.lab.predictors import open_predictor
from rfaconv.lab.recipes import apply_overrides
from rfaconv.lab.training.detector import figures_of
from rfaconv.lab.training.segmenter import figures_of as figures_of_masks
from rfaconv.lab.training.segmenter import overlap_of

LEAST_SCORE = 0.001
"""Of a box that counts: average precision needs the doubtful ones too."""
BUNDLED = ("digits", SAMPLE)
"""Data sets that come with the package or its libraries."""
OnImage = Callable[[int, int], None]
Found = Iterator[tuple[Any, Any]]
"""What a network finds in every image, and what is true of it."""


@dataclass(frozen=True)
class Truth:
    """Images of a data set with what is in them.

    Attributes:
        task: ``classify``, ``detect`` or ``segment``.
        classes: names.
        names: of the images.
        image: from an index to bytes (3, H, W).
        answer: from an index to a class, to boxes and their classes, or to a mask.
        said: one sentence for people.
        problems: what was passed over while reading, one line each.
    """

    task: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    image: Callable[[int], Tensor]
    answer: Callable[[int], Any]
    said: str
    problems: tuple[str, ...] = ()


def read_truth(data: str | Path) -> Truth:
    """The validation images of a folder that :func:`rfaconv.lab.looking.look` knows.

    Args:
        data: the folder, or ``eurosat-sample`` or ``digits``, which come with the package.

    Raises:
        InvalidArgument: it is no data set.
        RFAConvError: no image is left.
    """
    path = Path(data).expanduser()
    if str(data) in BUNDLED and not path.is_dir():
        return _bundled(str(data))
    seen = look(path)
    if seen.task == "classify":
        _, val, classes, others = list_folder(path)
        labels, problems = val.labels, tuple(map(str, others))
        return _of_files(seen, classes, val.paths, lambda i: int(labels[i]), problems)
    sets = recipe_data(apply_overrides(seen.recipe, ())).val
    problems = tuple(map(str, sets.problems))
    if seen.task == "detect":
        files = tuple(sample.image for sample in sets.samples)
        return _of_files(seen, sets.classes, files, lambda i: _boxes(sets.samples[i]), problems)
    files = tuple(image for image, _ in sets.pairs)
    sets.size = None  # judged at the images' own size
    return _of_files(seen, sets.classes, files, lambda i: sets[i][1], problems)


def _of_files(
    seen: Seen,
    classes: tuple[str, ...],
    files: tuple[Path, ...],
    answer: Callable[[int], Any],
    problems: tuple[str, ...],
) -> Truth:
    def image(index: int) -> Tensor:
        ((_, pixels),) = frames(files[index])
        return pixels

    return Truth(seen.task, classes, tuple(map(str, files)), image, answer, seen.said, problems)


def _bundled(name: str) -> Truth:
    data = load_data(DataSpec(name))

    def image(index: int) -> Tensor:
        pixels = data.val.__getitems__([index])[0][0]
        return pixels.expand(3, -1, -1).contiguous()

    def label(index: int) -> int:
        return int(data.val.labels[index])

    named = tuple(f"{name}-{data.classes[label(i)]}-{i}" for i in range(len(data.val)))
    said = f"{name}: {len(named)} images to validate, {len(data.classes)} classes"
    return Truth("classify", data.classes, named, image, label, said)


def _boxes(sample: Any) -> tuple[Tensor, Tensor]:
    boxes = torch.tensor(sample.boxes, dtype=torch.float32).reshape(-1, 4)
    return boxes, torch.tensor(sample.labels, dtype=torch.int64)


def judge(
    model: str | Path,
    data: str | Path,
    *,
    pretrained: bool = False,
    on_image: OnImage | None = None,
) -> dict[str, Any]:
    """Accuracy, average precision or intersection over union of a model on images with truth.

    Args:
        model: see :func:`rfaconv.lab.sources.identify`.
        data: a folder of classes, VOC, COCO, YOLO, or images with masks, of which the validation
            images are used; or one of ``BUNDLED``.
        pretrained: whether timm may fetch the weights of a named network.
        on_image: called with (images done, images in all).

    Returns:
        ``task``, ``classes``, ``images``, ``per_class`` (recall, AP, IoU; None for a class that
        does not occur) and the figures of the task, in [0, 1].

    Raises:
        InvalidArgument: model and data have other tasks or other classes.
    """
    truth = read_truth(data)
    predictor = open_predictor(model, threshold=LEAST_SCORE, pretrained=pretrained)
    if predictor.task != truth.task:
        got = f"a network to {predictor.task} with images to {truth.task}"
        raise InvalidArgument("data", "images of the network's own task", got)
    places = _matched(predictor.names, truth.classes)
    measure = {"classify": _classes, "detect": _detections, "segment": _masks}[truth.task]
    problems = list(truth.problems)
    found = _found(predictor, truth, problems, on_image or (lambda done, total: None))
    value = measure(found, predictor.names, truth.classes, places)
    left_out = len(problems) - len(truth.problems)
    return {
        **value, "task": truth.task, "classes": list(truth.classes),
        "images": len(truth.names) - left_out, "problems": problems,
        "model": str(model), "data": str(data),
    }  # fmt: skip


def _matched(names: tuple[str, ...], classes: tuple[str, ...]) -> dict[str, int]:
    """Places of the network's classes among those of the data."""
    missing = [name for name in classes if name not in names]
    if missing:
        got = f"{', '.join(names[:6])}; {', '.join(missing[:6])} missing"
        raise InvalidArgument("model", f"the classes {', '.join(classes[:6])}", got)
    return {name: index for index, name in enumerate(classes)}


def _found(predictor: Predictor, truth: Truth, problems: list[str], on_image: OnImage) -> Found:
    """Image by image; those that cannot be decoded are passed over."""
    total, failed = len(truth.names), 0
    for index in range(total):
        on_image(index, total)
        try:
            image = truth.image(index)
        except RFAConvError as error:
            problems.append(str(error))
            failed += 1
            continue
        yield predictor.find(image), truth.answer(index)
    on_image(total, total)
    if failed == total:
        raise InvalidArgument("data", "an image that can be decoded", problems[-1])


def _classes(
    every: Found, names: tuple[str, ...], classes: tuple[str, ...], places: dict[str, int]
) -> dict[str, Any]:
    count, right, seen = len(classes), [0, 0], 0
    # what is taken for a class that the data has not is a column of its own
    confusion = MulticlassConfusionMatrix(count + 1)
    for found, label in every:
        order = [places.get(entry["name"], count) for entry in found.to_json()["classes"]]
        seen += 1
        right[0] += order[0] == label
        right[1] += label in order
        confusion.update(torch.tensor([order[0]]), torch.tensor([label]))
    matrix = confusion.compute()[:count]
    recall = [float(r[i] / r.sum()) if r.sum() else None for i, r in enumerate(matrix)]
    return {
        "top1": right[0] / seen, "top5": right[1] / seen,
        "per_class": recall, "confusion": matrix[:, :count].tolist(),
    }  # fmt: skip


def _detections(
    every: Found, names: tuple[str, ...], classes: tuple[str, ...], places: dict[str, int]
) -> dict[str, Any]:
    metric = MeanAveragePrecision(class_metrics=True)
    for found, (boxes, labels) in every:
        rows = [row for row in found.to_json()["boxes"] if row["name"] in places]
        prediction = {
            "boxes": torch.tensor([row["box"] for row in rows]).reshape(-1, 4),
            "scores": torch.tensor([row["score"] for row in rows]),
            "labels": torch.tensor([places[row["name"]] for row in rows], dtype=torch.int64) + 1,
        }
        metric.update([prediction], [{"boxes": boxes, "labels": labels + 1}])
    return figures_of(metric, len(classes))


def _masks(
    every: Found, names: tuple[str, ...], classes: tuple[str, ...], places: dict[str, int]
) -> dict[str, Any]:
    count = len(classes)
    overlap = overlap_of(count + 1)
    place = torch.tensor([places.get(name, count) for name in names])
    right = labelled = 0
    for found, mask in every:
        if getattr(found, "mask", None) is None:
            raise InvalidArgument("model", "a network of masks", "one of outlined objects")
        numbers = place[found.mask]
        overlap.update(numbers[None], mask[None])
        counted = mask != IGNORED
        right += int((numbers == mask)[counted].sum())
        labelled += int(counted.sum())
    return {**figures_of_masks(overlap, count), "pixel_accuracy": right / max(1, labelled)}
