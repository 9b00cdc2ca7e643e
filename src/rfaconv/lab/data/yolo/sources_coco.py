"""COCO JSON files for YOLO."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Collector
from rfaconv.lab.data.coco import CocoFile, read_coco, read_json
from rfaconv.lab.data.yolo.labelled import Labelled, Row, Source, from_boxes
from rfaconv.lab.data.yolo.polygons import Mask, joined, outlines

_SPLIT = re.compile(r"(?<![a-z])(train|val|test)")
_OTHERS = re.compile(r"(?<![a-z])(captions|keypoints|panoptic|stuff|image_info)(?![a-z])")
"""Kinds of annotations beside those of objects."""


def coco_files(path: Path) -> dict[str, Path]:
    """The JSON files of a data set by their split; "" for one whose name does not say.

    Raises:
        InvalidArgument: there are several of a split.
    """
    if path.is_file():
        return {"": path} if path.suffix.lower() == ".json" else {}
    found: dict[str, list[Path]] = defaultdict(list)
    for pattern in ("annotations/*.json", "*.json", "*/_annotations.coco.json"):
        for file in sorted(path.glob(pattern)):
            named = file.parent.name if file.name == "_annotations.coco.json" else file.stem
            word = _SPLIT.search(named.lower())
            if not file.name.startswith(".") and not _OTHERS.search(named.lower()):
                found[word[1] if word else ""].append(file)
    for split, files in found.items():
        objects = [file for file in files if file.name.startswith("instances_")] or files
        if len(objects) > 1 or ("" in found and len(found) > 1):
            got = ", ".join(str(file) for others in found.values() for file in others)
            expected = (
                "one COCO JSON, or one of train, val and test each; or one file as the source"
            )
            raise InvalidArgument("source", expected, got)
        found[split] = objects
    return {split: files[0] for split, files in found.items()}


def read_coco_files(files: dict[str, Path], task: str, images: Path | None, strict: bool) -> Source:
    """Reads the boxes or outlines of COCO files; all have the same categories."""
    read = {split: CocoFile(_folder(file, images), file) for split, file in files.items()}
    if len({coco.classes for coco in read.values()}) > 1:
        expected = "files with the same categories"
        raise InvalidArgument("source", expected, ", ".join(map(str, files.values())))
    if task == "detect":
        return from_boxes({
            split: read_coco(coco.folder, coco.path, strict=strict) for split, coco in read.items()
        })  # fmt: skip
    source = Source(next(iter(read.values())).classes)
    for split, coco in read.items():
        source.splits[split] = _outlined(coco, source, strict)
    return source


def _folder(file: Path, images: Path | None) -> Path:
    """The folder that holds the first pictures of a file."""
    try:
        names = [str(e["file_name"]).replace("\\", "/") for e in read_json(file)["images"][:5]]
    except (KeyError, TypeError, AttributeError) as error:
        expected = "a COCO JSON with images, annotations and categories"
        raise InvalidArgument("source", expected, f"{file}: {error!r}") from error
    split = file.stem.rpartition("_")[2]
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    places = [images] if images else [
        file.parent, root, root / split, root / "images" / split, root / "images",
        root / "JPEGImages", file.parent / file.stem,
    ]  # fmt: skip
    for found in (lambda name: name, lambda name: Path(name).name):
        for place in places:
            if any(os.path.isfile(place / found(name)) for name in names):
                return place
    first = names[0] if names else "none"
    raise InvalidArgument("images", f"the folder of the pictures of {file}", f"none with {first}")


def _outlined(coco: CocoFile, source: Source, strict: bool) -> list[Labelled]:
    collector = Collector(coco.classes, strict)
    pictures = []
    for entry in coco.entries(collector):
        sample = collector.add(entry.file, coco.path, [], entry.size)
        if sample is None:
            continue
        rows: list[Row] = []
        for number, label, note in entry.notes:
            index = collector.index(label)
            name = f"annotation {note.get('id', number)} of {entry.file.name}"
            if index is None:
                collector.note("unknown class", coco.path, f"{label}, {name}")
                continue
            points = _outline(note.get("segmentation"), sample.size)
            if points is None:
                collector.note("no outline", coco.path, name)
                continue
            rows.append((index, points))
        pictures.append(Labelled(entry.file, tuple(rows)))
    source.problems += map(str, collector.problems)
    return pictures


def _outline(segmentation: Any, size: tuple[int, int]) -> tuple[float, ...] | None:
    """The outline of polygons or of packed pixels; None where they are none."""
    try:
        if isinstance(segmentation, list):
            parts = [[float(value) for value in part] for part in segmentation]
            even = all(len(part) % 2 == 0 and np.isfinite(part).all() for part in parts)
            return joined(parts, size) if even else None
        return joined([list(points) for points in outlines(_unpacked(segmentation, size))], (1, 1))
    except (TypeError, ValueError, KeyError):
        return None


def _unpacked(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask (H, W) of run lengths, which go down the columns and begin with the background."""
    wide, high = size
    runs = _runs(segmentation["counts"])
    if [int(side) for side in segmentation["size"]] != [high, wide] or sum(runs) != wide * high:
        raise ValueError("a mask of another size")
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    return np.ascontiguousarray(flat.reshape(wide, high).T)


def _runs(counts: Any) -> list[int]:
    """Run lengths, written as numbers or packed: five bits a letter, from the third on differences.

    Example:
        >>> _runs("52203"), _runs([5, 2, 4])
        ([5, 2, 2, 2, 5], [5, 2, 4])
    """
    if not isinstance(counts, str):
        return [int(count) for count in counts]
    runs: list[int] = []
    value = shift = 0
    for letter in counts.encode():
        code = letter - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
