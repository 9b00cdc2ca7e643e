"""COCO JSON files for YOLO."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rfaconv.decoding import ImageProblem, image_size
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Problem
from rfaconv.lab.data.coco import read_coco
from rfaconv.lab.data.yolo.labelled import Labelled, Row, Source, from_boxes
from rfaconv.lab.data.yolo.polygons import joined, outlines

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


def coco_files(path: Path) -> dict[str, Path]:
    """The JSON files of a data set by their split; "" for one whose name does not say."""
    if path.is_file():
        return {"": path} if path.suffix == ".json" else {}
    candidates = [
        *sorted(path.glob("annotations/*.json")),
        *sorted(path.glob("*.json")),
        *sorted(path.glob("*/_annotations.coco.json")),
    ]
    found: dict[str, Path] = {}
    for file in candidates:
        if "captions" in file.name or "keypoints" in file.name:
            continue
        named = f"{file.parent.name}/{file.name}"
        split = next((s for word, s in _SPLITS.items() if word in named), "")
        found.setdefault(split, file)
    return found


def read_coco_files(files: dict[str, Path], task: str, images: Path | None, strict: bool) -> Source:
    """Reads the boxes or outlines of COCO files; all have the same categories."""
    if task == "detect":
        sets = {
            split: read_coco(_folder(file, images), file, strict=strict)
            for split, file in files.items()
        }
        if len({s.classes for s in sets.values()}) > 1:
            expected = "files with the same categories"
            raise InvalidArgument("source", expected, ", ".join(map(str, files.values())))
        return from_boxes(sets)
    source = Source(())
    for split, file in files.items():
        _read_outlines(file, _folder(file, images), split, source, strict)
    return source


def _folder(file: Path, images: Path | None) -> Path:
    """The folder that holds the first pictures of a file."""
    try:
        names = [str(entry["file_name"]) for entry in _content(file)["images"][:5]]
    except (KeyError, TypeError, AttributeError) as error:
        expected = "a COCO JSON with images, annotations and categories"
        raise InvalidArgument("source", expected, f"{file}: {error!r}") from error
    split = file.stem.rpartition("_")[2]
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    places = [images] if images else [
        file.parent, root, root / split, root / "images" / split, root / "images",
        root / "JPEGImages", file.parent / file.stem,
    ]  # fmt: skip
    for place in places:
        if place is not None and any((place / name).is_file() for name in names):
            return place
    first = names[0] if names else "none"
    raise InvalidArgument("images", f"the folder of the pictures of {file}", f"none with {first}")


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArgument("source", "a COCO JSON", f"{file}: {error}") from error


def _read_outlines(file: Path, folder: Path, split: str, source: Source, strict: bool) -> None:
    from rfaconv.lab.data.boxes import DataProblem

    content = _content(file)
    categories = sorted(content["categories"], key=lambda c: c["id"])
    names = tuple(str(c["name"]) for c in categories)
    if source.classes not in ((), names):
        raise InvalidArgument("source", "files with the same categories", str(file))
    source.classes = names
    position = {c["id"]: index for index, c in enumerate(categories)}
    notes: dict[Any, list[Any]] = defaultdict(list)
    for note in content["annotations"]:
        if not note.get("iscrowd"):
            notes[note["image_id"]].append(note)

    def problem(kind: str, path: Path, detail: str) -> None:
        found = str(Problem(kind, path, detail))
        if strict:
            raise DataProblem(found)
        source.problems.append(found)

    pictures = source.splits.setdefault(split, [])
    for entry in content["images"]:
        image = folder / str(entry["file_name"])
        try:
            size = image_size(image)
        except ImageProblem as error:
            kind = "bad image" if image.exists() else "missing image"
            problem(kind, image, str(error))
            continue
        rows: list[Row] = []
        for note in notes.get(entry["id"], []):
            label = position.get(note.get("category_id"))
            if label is None:
                problem("unknown class", file, f"category id {note.get('category_id')}")
                continue
            points = _outline(note.get("segmentation"), size)
            if points is None:
                problem("no outline", file, f"annotation {note.get('id')} of {image.name}")
                continue
            rows.append((label, points))
        pictures.append(Labelled(image, tuple(rows)))


def _outline(segmentation: Any, size: tuple[int, int]) -> tuple[float, ...] | None:
    if isinstance(segmentation, list):
        return joined(segmentation, size)
    if not isinstance(segmentation, dict):
        return None
    coco_mask = import_module("pycocotools.mask")
    packed = segmentation
    if isinstance(segmentation.get("counts"), list):
        packed = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    with warnings.catch_warnings():
        # numpy 2 deprecates how pycocotools hands its memory over
        warnings.simplefilter("ignore", DeprecationWarning)
        mask = coco_mask.decode(packed)
    parts = [list(points) for points in outlines(mask)]
    return joined(parts, (1, 1))
