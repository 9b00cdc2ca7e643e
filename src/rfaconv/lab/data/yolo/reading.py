"""YOLO's folders: a ``data.yaml``, images, and a text file of boxes beside each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfaconv.decoding import ImageProblem, has_image_suffix, image_size
from rfaconv.errors import InvalidArgument
from rfaconv.files import read_yaml
from rfaconv.lab.data.boxes import Box, Collector, DetectionSet, around
from rfaconv.lab.data.lookup import Files, check_names, read_text

NAMES = ("data.yaml", "data.yml", "dataset.yaml")
SPLITS = ("train", "val", "test")
_CLASS_LISTS = ("classes.txt", "labels.txt")
"""What programs for labelling put beside the labels."""


def yolo_file(root: Path) -> Path | None:
    """The description in a folder: ``data.yaml``, or the only YAML that has ``names``."""
    found = [root / name for name in NAMES if (root / name).is_file()]
    others = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    return next((path for path in [*found, *others] if _is_description(path)), None)


def read_yolo(root: Path | str, split: str, *, strict: bool = False) -> DetectionSet:
    """Reads the images of a split and the boxes in ``labels`` beside ``images``.

    A row is a class and centre, width and height, or a class and a polygon, as fractions of the
    image. An image without a text file has no boxes, as ultralytics understands it. Problems are
    named in ``problems`` of the result and passed over.

    Args:
        root: the folder, or its ``data.yaml``.
        split: ``train``, ``val`` or ``test``.
        strict: a problem is an error.

    Raises:
        InvalidArgument: no description, or it has no such split.
        DataProblem: with ``strict``, the first problem; or no image is left.
    """
    root = Path(root)
    file = root if root.is_file() else yolo_file(root)
    if file is None:
        raise InvalidArgument("data.root", f"a folder with {NAMES[0]}", str(root))
    values = description(file)
    collector = Collector(_names(values, file), strict)
    entry = values.get("val" if split == "valid" else split)
    if not entry:
        known = [name for name in SPLITS if values.get(name)]
        raise InvalidArgument("split", f"one of {', '.join(known)}", repr(split))
    base = file.parent / str(values.get("path") or "")
    base = base if base.is_dir() else file.parent
    images = _images(base, entry)
    box_alone = of_poses(values)
    for image in images:
        label = label_of(image)
        try:
            size = image_size(image)
        except ImageProblem:
            size = (1, 1)  # the collector says what is wrong
        try:
            rows = read_text(label, "label").splitlines() if label.is_file() else []
        except InvalidArgument as error:
            collector.note("bad label", label, error.expected)
            continue
        collector.add(image, label, list(_boxes(label, rows, size, collector, box_alone)))
    labels = {label_of(image) for image in images}
    for folder in sorted({path.parent for path in labels} - {path.parent for path in images}):
        for label in Files(folder, lambda path: path.suffix == ".txt").paths:
            if label not in labels and label.name not in _CLASS_LISTS:
                collector.note("missing image", label, "no image of this name")
    return collector.result()


def _is_description(path: Path) -> bool:
    try:
        keys = description(path).keys()
        return "names" in keys and not keys.isdisjoint(SPLITS)
    except InvalidArgument:
        return False


def description(path: Path) -> Mapping[str, Any]:
    """What a ``data.yaml`` says.

    Raises:
        InvalidArgument: it cannot be read.
    """
    expected = "YAML with names and train"
    try:
        values = read_yaml(read_text(path, "data.root"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument("data.root", expected, f"{path} ({error})") from error
    if not isinstance(values, dict):
        raise InvalidArgument("data.root", expected, str(path))
    return values


def of_poses(values: Mapping[str, Any]) -> bool:
    """Whether rows have points behind the box."""
    return bool(values.get("kpt_shape"))


def _names(values: Mapping[str, Any], file: Path) -> list[str]:
    """The names of the classes in the order of their numbers."""
    names = values.get("names")
    if isinstance(names, Mapping):
        numbers = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        names = [numbers.get(index) for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(map(_is_word, names)):
        expected = f"names in {file}, a list or a mapping of numbers from 0 on"
        raise InvalidArgument("data.root", expected, repr(values.get("names")))
    words = [str(name) for name in names]
    check_names(words, "data.root", f" of names in {file}")
    return words


def _is_word(name: Any) -> bool:
    return name is not None and not isinstance(name, list | dict)


def _images(base: Path, entry: Any) -> list[Path]:
    """Files of a split: of a folder, of a list of files, or of several of these."""
    found: list[Path] = []
    for part in entry if isinstance(entry, list) else [entry]:
        # descriptions that were unpacked elsewhere say ../train/images
        tried = [base / str(part), base / str(part).replace("../", "")]
        place = next((path for path in tried if path.exists()), None)
        if place is None:
            raise InvalidArgument("data.root", f"a folder or list {part} below {base}", "none")
        if place.is_dir():
            below = (path for path in place.rglob("[!.]*") if has_image_suffix(path))
            found += sorted(path for path in below if path.is_file())
        else:
            lines = read_text(place, "split").splitlines()
            found += [place.parent / line.strip() for line in lines if line.strip()]
    return found


def label_of(image: Path) -> Path:
    """``labels`` for the last ``images`` in the path, ``.txt`` for the suffix."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    path = Path(*parts)
    return path.with_name(f"{path.stem}.txt")


def _boxes(
    label: Path, rows: list[str], size: tuple[int, int], collector: Collector, box_alone: bool
) -> list[tuple[int | str, Box]]:
    result: list[tuple[int | str, Box]] = []
    for number, line in enumerate(rows, 1):
        if not line.strip():
            continue
        try:
            index, numbers = _parsed(line, box_alone)
            x1, y1, x2, y2 = _upright(numbers)
        except (ValueError, OverflowError):
            collector.note("bad label", label, f"row {number}: {line.strip()[:60]!r}")
            continue
        known = 0 <= index < len(collector.classes)
        scaled = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
        result.append((index if known else f"class {index}", _snapped(scaled, size)))
    return result


def good_rows(label: Path, classes: int, box_alone: bool = False) -> str:
    """The rows of a label file without those that :func:`read_yolo` passes over.

    ultralytics leaves the whole image out for one row that it does not take. Such rows of numbers
    above 1 are cut at the image's edge.
    """
    lines = []
    for line in read_text(label, "label").splitlines():
        try:
            index, numbers = _parsed(line, box_alone)
            x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in _upright(numbers))
        except (ValueError, OverflowError, IndexError):
            continue
        if not (0 <= index < classes and x2 > x1 and y2 > y1):
            continue
        if any(not 0 <= number <= 1 for number in numbers):
            numbers = (
                [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
                if len(numbers) == 4
                else [min(max(number, 0.0), 1.0) for number in numbers]
            )
        lines.append(" ".join([str(index), *map(str, numbers)]))
    return "".join(f"{line}\n" for line in lines)


def _parsed(line: str, box_alone: bool) -> tuple[int, list[float]]:
    row = [float(word) for word in line.split()]
    if row[0] != int(row[0]) or not all(map(math.isfinite, row)):
        raise ValueError("no class")
    return int(row[0]), row[1:5] if box_alone else row[1:]


def _upright(numbers: list[float]) -> Box:
    if len(numbers) == 4:
        x, y, w, h = numbers
        return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither box nor polygon")
    return around(numbers)


def _snapped(box: Box, size: tuple[int, int]) -> Box:
    """Edges that are those of the image but for the rounding of fractions."""
    limits = (0.0, 0.0, float(size[0]), float(size[1]))
    x1, y1, x2, y2 = (b if abs(b - limit) > 1e-2 else limit
                      for b, limit in zip(box, limits, strict=True))  # fmt: skip
    return (x1, y1, x2, y2)
