"""YOLO's folders: a ``data.yaml``, images, and a text file of boxes beside each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rfaconv.decoding import ImageProblem, has_image_suffix, image_size
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Box, Collector, DetectionSet
from rfaconv.lab.data.lookup import read_text

NAMES = ("data.yaml", "data.yml", "dataset.yaml")


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
    values = _values(file)
    names = values.get("names") or ()
    ordered = [names[key] for key in sorted(names)] if isinstance(names, Mapping) else list(names)
    collector = Collector([str(name) for name in ordered], strict)
    entry = values.get("val" if split == "valid" else split)
    if not entry:
        known = [name for name in ("train", "val", "test") if values.get(name)]
        raise InvalidArgument("split", f"one of {', '.join(known)}", repr(split))
    base = file.parent / str(values.get("path") or "")
    base = base if base.is_dir() else file.parent
    for image in _images(base, entry):
        label = label_of(image)
        try:
            size = image_size(image)
        except ImageProblem:
            size = (1, 1)  # the collector says what is wrong
        boxes = list(_boxes(label, size, collector)) if label.is_file() else []
        collector.add(image, label, boxes)
    return collector.result()


def _is_description(path: Path) -> bool:
    try:
        return {"names", "train"} <= _values(path).keys()
    except InvalidArgument:
        return False


def _values(path: Path) -> Mapping[str, Any]:
    expected = "YAML with names and train"
    try:
        values = yaml.safe_load(read_text(path, "data.root"))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidArgument("data.root", expected, str(path)) from error
    if not isinstance(values, dict):
        raise InvalidArgument("data.root", expected, str(path))
    return values


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
            below = (path for path in place.rglob("*") if has_image_suffix(path))
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


def _boxes(label: Path, size: tuple[int, int], collector: Collector) -> list[tuple[int | str, Box]]:
    result: list[tuple[int | str, Box]] = []
    for number, line in enumerate(read_text(label, "label").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
            if row[0] != int(row[0]) or not all(map(math.isfinite, row)):
                raise ValueError("no class")
            index, numbers = int(row[0]), row[1:]
            box = _upright(numbers)
        except (ValueError, OverflowError):
            collector.note("bad label", label, f"row {number}: {line.strip()[:60]!r}")
            continue
        x1, y1, x2, y2 = box
        known = 0 <= index < len(collector.classes)
        scaled = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
        result.append((index if known else f"class {index}", _snapped(scaled, size)))
    return result


def _upright(numbers: list[float]) -> Box:
    if len(numbers) == 4:
        x, y, w, h = numbers
        return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither box nor polygon")
    xs, ys = numbers[::2], numbers[1::2]
    return (min(xs), min(ys), max(xs), max(ys))


def _snapped(box: Box, size: tuple[int, int]) -> Box:
    """Edges that are those of the image but for the rounding of fractions."""
    limits = (0.0, 0.0, float(size[0]), float(size[1]))
    x1, y1, x2, y2 = (b if abs(b - limit) > 1e-2 else limit
                      for b, limit in zip(box, limits, strict=True))  # fmt: skip
    return (x1, y1, x2, y2)
