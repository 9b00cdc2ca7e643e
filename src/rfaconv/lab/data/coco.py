"""COCO's JSON: one file that names images, boxes and classes."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Box, Collector, DetectionSet, around
from rfaconv.lab.data.lookup import Files, check_names, read_text


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
    coco = CocoFile(images, annotations, crowds=crowds)
    collector = Collector(coco.classes, strict)
    for entry in coco.entries(collector):
        boxes = []
        for number, label, note in entry.notes:
            box = _box(note)
            if box is None:
                name = f"annotation {note.get('id', number)}"
                collector.note("bad box", coco.path, f"{name} has neither box nor polygon")
                continue
            boxes.append((label, box))
        collector.add(entry.file, coco.path, boxes, entry.size)
    return collector.result()


Note = tuple[int, Any, Mapping[str, Any]]
"""Number of an annotation, index of its class (or what it says of one), and the annotation."""


@dataclass(frozen=True)
class Entry:
    """An image that a COCO JSON names.

    Attributes:
        file: the image.
        size: width and height as the JSON has them, if it does.
        notes: its annotations.
    """

    file: Path
    size: tuple[int, int] | None
    notes: Sequence[Note]


class CocoFile:
    """A COCO JSON whose parts are there.

    Args:
        images: folder of the images.
        path: the file.
        crowds: whether crowds are taken like other objects; otherwise they are left out.

    Raises:
        InvalidArgument: the file is no COCO JSON.
    """

    def __init__(self, images: Path | str, path: Path | str, *, crowds: bool = False) -> None:
        self.folder, self.path, self.crowds = Path(images), Path(path), crowds
        expected = "a COCO JSON with images, annotations and categories"
        content = read_json(self.path)
        try:
            names = {_identity(c["id"]): str(c["name"]) for c in content["categories"]}
            self.images = [
                (_identity(e["id"]), str(e["file_name"]).replace("\\", "/"), _size(e))
                for e in content["images"]
            ]
            self.notes = [dict(note) for note in content["annotations"]]
            double = [c["id"] for c in content["categories"]
                      if names[_identity(c["id"])] != str(c["name"])]  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise InvalidArgument("annotations", expected, f"{self.path}: {reason}") from error
        if double:
            got = f"two categories of id {double[0]} in {self.path}"
            raise InvalidArgument("annotations", "a category of each id", got)
        # some tools write the name of the whole set as a category that no object is of
        used = {_identity(note.get("category_id")) for note in self.notes}
        counts = Counter(names.values())
        order = sorted((i for i in names if i in used or counts[names[i]] == 1), key=_order)
        self.classes = tuple(names[identity] for identity in order)
        check_names(self.classes, "annotations", f" of categories in {self.path}")
        self._position = {identity: index for index, identity in enumerate(order)}

    def entries(self, collector: Collector) -> Iterator[Entry]:
        """Image by image; takes down what is wrong beyond one."""
        notes = self._by_image(collector)
        files, used, taken = Files(self.folder), set[Path](), dict[str, str]()
        for identity, name, _ in self.images:
            if taken.setdefault(identity, name) != name:
                # nobody knows whose its annotations are
                detail = f"image id {identity} is of {taken[identity]} and of {name}"
                collector.note("bad label", self.path, detail)
                notes.pop(identity, None)
                taken[identity] = ""
        for identity, name, size in self.images:
            file = self.folder / name
            if not os.path.isfile(file) and (found := files.named(Path(name).name)) is not None:
                file = found
            if file in used:
                collector.note("bad label", self.path, f"two entries name {name}")
                continue
            used.add(file)
            if taken[identity]:
                yield Entry(file, size, notes.get(identity, []))
        left = [file for file in files.paths if file not in used]
        elsewhere = self._named_elsewhere() if left else set()
        for file in left:
            if file.name not in elsewhere:
                collector.note("missing label", file, f"{self.path.name} does not name it")

    def _by_image(self, collector: Collector) -> dict[str, list[Note]]:
        known = {identity for identity, _, _ in self.images}
        found: dict[str, list[Note]] = defaultdict(list)
        for number, note in enumerate(self.notes):
            if _says_yes(note.get("iscrowd")) and not self.crowds:
                continue
            identity, category = _identity(note.get("image_id")), _identity(note.get("category_id"))
            if identity not in known:
                name = f"annotation {note.get('id', number)}"
                collector.note("unknown image", self.path, f"{name} is of image {identity}")
                continue
            label = self._position.get(category, f"category id {category}")
            found[identity].append((number, label, note))
        return found

    def _named_elsewhere(self) -> set[str]:
        """Names of images in the files beside this one: those of other splits."""
        found = set()
        for path in self.path.parent.glob("*.json"):
            try:
                entries = read_json(path)["images"] if path != self.path else []
                found |= {Path(str(e["file_name"]).replace("\\", "/")).name for e in entries}
            except (InvalidArgument, KeyError, TypeError):
                continue  # another kind of file
        return found


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 or UTF-16.

    Raises:
        InvalidArgument: there is none, or it is damaged.
    """
    if not path.is_file():
        raise InvalidArgument("annotations", "a COCO JSON", f"no file {path}")
    try:
        return json.loads(read_text(path, "annotations"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        reason = " ".join(repr(error).split())[:200]
        raise InvalidArgument("annotations", "a COCO JSON", f"{path}: {reason}") from error


def _identity(value: Any) -> str:
    """An id, whether it is written as a number, with a fraction of zero, or as a string."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _says_yes(value: Any) -> bool:
    return str(value).strip().lower() not in ("0", "0.0", "false", "none", "")


def _order(identity: str) -> tuple[int, int, str]:
    """Numbers first and by their value."""
    return (0, int(identity), "") if identity.lstrip("-").isdecimal() else (1, 0, identity)


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        size = (int(entry.get("width") or 0), int(entry.get("height") or 0))
    except (TypeError, ValueError, OverflowError):
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
    return around(numbers) if len(numbers) >= 6 else None
