"""COCO's JSON: one file that names pictures, boxes and classes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from rfaconv.detection.samples import Box, Collector, DetectionSet
from rfaconv.errors import InvalidArgument


def read_coco(
    images: Path | str, annotations: Path | str, *, strict: bool = False, crowds: bool = False
) -> DetectionSet:
    """Reads a folder of pictures and its ``instances_*.json``.

    Classes are those of the file in order of their ids. Problems are named in ``problems`` of the
    result and passed over. A picture without an entry in ``annotations`` has no boxes; a picture
    file that the JSON does not name is a missing label.

    Args:
        images: folder of the pictures.
        annotations: the JSON file.
        strict: a problem is an error.
        crowds: whether boxes around crowds are taken like others; otherwise they are left out.

    Raises:
        InvalidArgument: the file is no COCO JSON.
        DataProblem: with ``strict``, the first problem; or no picture is left.
    """
    folder, path = Path(images), Path(annotations)
    expected = "a COCO JSON with images, annotations and categories"
    if not path.is_file():
        raise InvalidArgument("annotations", expected, f"no file {path}")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda c: c["id"])
        entries = [(entry["id"], str(entry["file_name"])) for entry in content["images"]]
        boxes: dict[Any, list[tuple[Any, Box]]] = defaultdict(list)
        position = {c["id"]: index for index, c in enumerate(categories)}
        for note in content["annotations"]:
            if note.get("iscrowd", 0) and not crowds:
                continue
            x, y, width, height = map(float, note["bbox"])
            label = position.get(note["category_id"], f"category id {note['category_id']}")
            boxes[note["image_id"]].append((label, (x, y, x + width, y + height)))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument("annotations", expected, f"{path}: {error!r}") from error
    collector = Collector([str(c["name"]) for c in categories], strict)
    for identity, name in entries:
        collector.add(folder / name, path, boxes.get(identity, []))
    named = {name for _, name in entries}
    for file in sorted(folder.glob("*.jpg")):
        if file.name not in named:
            collector.note("missing label", file, f"{path.name} does not name it")
    return collector.result()
