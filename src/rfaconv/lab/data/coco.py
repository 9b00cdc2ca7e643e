"""COCO's JSON: one file that names images, boxes and classes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Box, Collector, DetectionSet
from rfaconv.lab.data.lookup import Files, read_text


def read_coco(
    images: Path | str, annotations: Path | str, *, strict: bool = False, crowds: bool = False
) -> DetectionSet:
    """Reads a folder of images and its ``instances_*.json``.

    Classes are those of the file in order of their ids, which may be numbers or strings. An object
    with a polygon and no box has the box around it. Problems are named in ``problems`` of the
    result and passed over. An image without an entry in ``annotations`` has no boxes; an image file
    that the JSON does not name is a missing label.

    Args:
        images: folder of the images.
        annotations: the JSON file.
        strict: a problem is an error.
        crowds: whether boxes around crowds are taken like others; otherwise they are left out.

    Raises:
        InvalidArgument: the file is no COCO JSON.
        DataProblem: with ``strict``, the first problem; or no image is left.
    """
    folder, path = Path(images), Path(annotations)
    expected = "a COCO JSON with images, annotations and categories"
    if not path.is_file():
        raise InvalidArgument("annotations", expected, f"no file {path}")
    try:
        content: Any = json.loads(read_text(path, "annotations"))
        categories = sorted(content["categories"], key=lambda c: _order(c["id"]))
        entries = [(str(e["id"]), str(e["file_name"]), _size(e)) for e in content["images"]]
        position = {str(c["id"]): index for index, c in enumerate(categories)}
        classes = [str(c["name"]) for c in categories]
        notes = [dict(note) for note in content["annotations"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        reason = " ".join(repr(error).split())[:200]
        raise InvalidArgument("annotations", expected, f"{path}: {reason}") from error
    collector = Collector(classes, strict)
    known = {identity for identity, _, _ in entries}
    boxes: dict[str, list[tuple[Any, Box]]] = defaultdict(list)
    for number, note in enumerate(notes):
        if note.get("iscrowd", 0) and not crowds:
            continue
        name = f"annotation {note.get('id', number)}"
        identity, category = str(note.get("image_id")), str(note.get("category_id"))
        if identity not in known:
            collector.note("unknown image", path, f"{name} is of image {identity}")
            continue
        box = _box(note)
        if box is None:
            collector.note("bad box", path, f"{name} has neither box nor polygon")
            continue
        boxes[identity].append((position.get(category, f"category id {category}"), box))
    files = Files(folder)
    used: set[Path] = set()
    for identity, name, size in entries:
        file = folder / name.replace("\\", "/")
        if not file.is_file() and (found := files.named(Path(file).name)) is not None:
            file = found
        if file in used:
            collector.note("bad label", path, f"two entries name {name}")
            continue
        used.add(file)
        collector.add(file, path, boxes.get(identity, []), size)
    for file in files.paths:
        if file not in used:
            collector.note("missing label", file, f"{path.name} does not name it")
    return collector.result()


def _order(identity: Any) -> tuple[int, int, str]:
    """Numbers first and by their value, whether they are written as numbers or as strings."""
    text = str(identity)
    return (0, int(text), "") if text.lstrip("-").isdecimal() else (1, 0, text)


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        size = (int(entry.get("width") or 0), int(entry.get("height") or 0))
    except (TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def _box(note: Mapping[str, Any]) -> Box | None:
    """The box of an annotation, or the one around its polygons; None without either."""
    try:
        x, y, width, height = map(float, note.get("bbox") or ())
        return (x, y, x + width, y + height)
    except (TypeError, ValueError):
        pass
    try:
        polygons = note.get("segmentation") or []
        numbers = [float(value) for polygon in polygons for value in polygon]
    except (TypeError, ValueError):
        return None
    if len(numbers) < 6:
        return None
    xs, ys = numbers[::2], numbers[1::2]
    return (min(xs), min(ys), max(xs), max(ys))
