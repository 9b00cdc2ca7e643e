"""Images with boxes, whatever they were read from, and what was wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rfaconv.decoding import ImageProblem, image_size, stored_size
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.data.decoding import read_pixels
from rfaconv.lab.data.lookup import check_names

Box = tuple[float, float, float, float]


def around(numbers: Sequence[float]) -> Box:
    """The upright box around points: x, y, x, y and so on."""
    xs, ys = numbers[::2], numbers[1::2]
    return (min(xs), min(ys), max(xs), max(ys))


class DataProblem(RFAConvError):
    """Something is wrong with a data set, and the caller asked to be strict about it."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a data set and was passed over.

    Attributes:
        kind: ``missing label``, ``bad label``, ``missing image``, ``bad image``, ``unknown image``,
            ``unknown class``, ``size differs``, ``bad box``, ``box of no size``, ``box outside``
            (left out), ``box cut`` (at the image's edge) or ``no outline``.
        path: the file that has it.
        detail: what exactly.
    """

    kind: str
    path: Path
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        image: the file.
        size: width and height in pixels.
        boxes: (x1, y1, x2, y2) in pixels, inside the image, of positive size.
        labels: an index into the class names for every box.
    """

    image: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]


class DetectionSet(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images with boxes, as torchvision's detectors take them.

    An item is an image, float32 (3, H, W) in [0, 1], and a mapping of ``boxes`` (N, 4) in pixels,
    ``labels`` (N,), where 1 is the first class as torchvision counts, and ``image_id`` (1,).

    Args:
        samples: the images.
        classes: names.
        problems: what was passed over.
    """

    def __init__(
        self, samples: Sequence[Sample], classes: Sequence[str], problems: Sequence[Problem] = ()
    ) -> None:
        self.samples = tuple(samples)
        self.classes = tuple(classes)
        self.problems = tuple(problems)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        sample = self.samples[index]
        target = {
            "boxes": torch.tensor(sample.boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(sample.labels, dtype=torch.int64) + 1,
            "image_id": torch.tensor([index]),
        }
        return read_pixels(sample.image).float() / 255, target

    def subset(self, indices: Sequence[int]) -> DetectionSet:
        """The images at ``indices``, with the problems if the first image is among them."""
        problems = self.problems if 0 in indices else ()
        return DetectionSet([self.samples[i] for i in indices], self.classes, problems)

    def summary(self) -> str:
        """One line: images, boxes, and the problems counted by kind."""
        boxes = sum(len(sample.boxes) for sample in self.samples)
        text = f"{len(self)} pictures, {boxes} boxes"
        counts = Counter(problem.kind for problem in self.problems)
        return "; ".join([text, *(f"{n} x {kind}" for kind, n in sorted(counts.items()))])


def check_labelled(pictures: DetectionSet, use: str = "to learn from") -> None:
    """Refuses images of which none has a box.

    Raises:
        InvalidArgument: there is none; the first problem is named.
    """
    if not any(sample.boxes for sample in pictures.samples):
        first = f"; first problem: {pictures.problems[0]}" if pictures.problems else ""
        got = f"{len(pictures)} images without one, such as {pictures.samples[0].image}{first}"
        raise InvalidArgument("data", f"images with boxes {use}", got)


class Collector:
    """Gathers samples and problems while a data set is read.

    Args:
        classes: names.
        strict: whether any problem is an error.
    """

    def __init__(self, classes: Sequence[str], strict: bool) -> None:
        check_names(classes, "classes")
        self.classes = tuple(classes)
        self.strict = strict
        self.samples: list[Sample] = []
        self.problems: list[Problem] = []

    def note(self, kind: str, path: Path, detail: str) -> None:
        """Takes a problem down; raises DataProblem where the caller is strict."""
        problem = Problem(kind, path, detail)
        if self.strict:
            raise DataProblem(str(problem))
        self.problems.append(problem)

    def add(
        self,
        image: Path,
        label: Path,
        boxes: Iterable[tuple[Any, Box]],
        labelled: tuple[int, int] | None = None,
    ) -> Sample | None:
        """Checks an image and its (class index or None with a name, box) pairs, and keeps them.

        Args:
            image: the file.
            label: the file that has the boxes.
            boxes: class and box of every object.
            labelled: width and height of the image as the label has them, where it does.

        Returns:
            The image as it was kept, None where it was not.
        """
        if not os.path.exists(image):  # Path.exists raises where a name is too long
            self.note("missing image", image, f"named by {label.name}")
            return None
        try:
            size = image_size(image)
            turned = stored_size(image) != size
        except ImageProblem as error:
            detail = "an empty file" if image.stat().st_size == 0 else str(error)
            self.note("bad image", image, detail)
            return None
        if labelled is not None and labelled != size:
            detail = f"{labelled[0]} x {labelled[1]}, the image has {size[0]} x {size[1]}"
            # boxes drawn before the camera's turn was applied lie elsewhere
            why = " when upright: its boxes may be those of the image as it is stored"
            self.note("size differs", label, detail + why * turned)
            return None
        kept: list[tuple[int, Box]] = []
        for name, box in boxes:
            index = self.index(name)
            if index is None:
                self.note("unknown class", label, f"{name!r}, known are {', '.join(self.classes)}")
                continue
            inside = self._inside(box, size, label)
            if inside is not None:
                kept.append((index, inside))
        rows, labels = tuple(b for _, b in kept), tuple(i for i, _ in kept)
        self.samples.append(Sample(image, size, rows, labels))
        return self.samples[-1]

    def index(self, name: Any) -> int | None:
        """Position of a class name, or an index in range as it is; None for anything else."""
        if isinstance(name, int):
            return name if 0 <= name < len(self.classes) else None
        return self.classes.index(name) if name in self.classes else None

    def _inside(self, box: Box, size: tuple[int, int], label: Path) -> Box | None:
        x1, y1, x2, y2 = box
        shown = f"({x1:g}, {y1:g}, {x2:g}, {y2:g}) in a picture of {size[0]} x {size[1]}"
        if not (x2 > x1 and y2 > y1):
            self.note("box of no size", label, shown)
            return None
        cut = (max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1])))
        if not (cut[2] > cut[0] and cut[3] > cut[1]):
            self.note("box outside", label, shown)
            return None
        if cut != box:
            self.note("box cut", label, shown)
        return cut

    def result(self) -> DetectionSet:
        """The data set.

        Raises:
            DataProblem: no image is left.
        """
        if not self.samples:
            first = f"; first: {self.problems[0]}" if self.problems else ""
            raise DataProblem(f"no usable picture, {len(self.problems)} problems{first}")
        return DetectionSet(self.samples, self.classes, self.problems)
