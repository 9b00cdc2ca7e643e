"""What a folder of images is, by its layout, and a recipe for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rfaconv.decoding import ImageProblem, image_size, read_indices, stored_size
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.folder import list_folder, split_folders
from rfaconv.lab.data.lookup import Files, check_names, read_text
from rfaconv.lab.data.masks import IGNORED
from rfaconv.lab.data.voc import voc_lists, voc_root
from rfaconv.lab.data.yolo.reading import description, yolo_file
from rfaconv.lab.recipes import parsed_recipe

LOOKED_AT = 64
"""Masks that are opened to see which numbers they have."""
LARGEST = 320
"""Pixels of the longer side to which images with masks are scaled, if they are not of one size."""
_VAL = ("val", "valid", "validation", "test", "val2017")
_TRAIN = ("train", "training", "trainval", "train2017")
_CLASS_LISTS = ("classes.txt", "labels.txt", "class_names.txt", "codes.txt")


@dataclass(frozen=True)
class Seen:
    """What was found in a folder.

    Attributes:
        kind: ``classes``, ``voc``, ``coco``, ``yolo``, ``masks`` or ``voc masks``.
        said: one sentence for people.
        recipe: values of a recipe, as a YAML file has them.
    """

    kind: str
    said: str
    recipe: Mapping[str, Any]

    @property
    def task(self) -> str:
        """``classify``, ``detect`` or ``segment``."""
        return str(self.recipe["task"])


def look(path: Path) -> Seen:
    """Says what a folder of images is, and which recipe trains on it.

    Known are a folder per class, with or without ``train`` and ``val``; Pascal VOC; COCO
    (``annotations/instances_SPLIT.json``, or ``SPLIT/_annotations.coco.json``); YOLO
    (``data.yaml``); and images with masks (``SPLIT`` and ``SPLITannot``, ``images/SPLIT`` and
    ``masks/SPLIT``, ``images`` and ``masks``). Without a split for validation a fifth of the
    images is held out by a seed.

    Args:
        path: the folder.

    Raises:
        InvalidArgument: it is none of these; the message says what was looked for.
    """
    if not path.is_dir():
        raise InvalidArgument("path", "a folder of images", str(path))
    for rule in (_yolo, _coco, _voc, _masks, _voc_tree, _classes):
        seen = rule(path)
        if seen is not None:
            return seen
    expected = (
        "a folder per class, VOC (JPEGImages, Annotations), COCO (annotations/*.json), "
        "YOLO (data.yaml) or masks (images, masks)"
    )
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "an empty folder"
    raise InvalidArgument("path", expected, f"{path} with {found}")


def _detection(path: Path, kind: str, train: str, val: str | None, what: str) -> Seen:
    base = dict(parsed_recipe("boxes"))
    base["data"] = {"format": kind, "root": str(path), "train": train, "val": val}
    judged = f"validation on {val}" if val else "a fifth held out for validation"
    return Seen(kind, f"{path}: boxes, {what}; training on {train or 'all'}, {judged}", base)


def _yolo(path: Path) -> Seen | None:
    file = yolo_file(path)
    if file is None:
        return None
    values = description(file)
    if not values.get("train"):
        got = ", ".join(map(str, values))
        raise InvalidArgument("path", f"a key train in {file}, with images to learn from", got)
    val = "val" if values.get("val") else "test" if values.get("test") else None
    return _detection(path, "yolo", "train", val, f"YOLO ({file.name})")


def _coco(path: Path) -> Seen | None:
    named = sorted((path / "annotations").glob("instances_*.json"))
    splits = [file.stem.removeprefix("instances_") for file in named]
    if not splits:
        splits = sorted(file.parent.name for file in path.glob("*/_annotations.coco.json"))
    if not splits:
        return None
    train, val = _splits(splits)
    return _detection(path, "coco", train, val, "COCO")


def _voc(path: Path) -> Seen | None:
    root = voc_root(path)
    named = voc_lists(root) if root is not None else []
    if root is not None and named:
        return _detection(root, "voc", *_splits(named), "Pascal VOC")
    lists = [file.stem for file in (path / "ImageSets" / "Segmentation").glob("*.txt")]
    masks = path / "SegmentationClass"
    if not lists or not masks.is_dir() or not (path / "JPEGImages").is_dir():
        return None
    train, val = _splits(lists)
    return _segmentation(path, "voc", train, val, path / "JPEGImages", masks)


def _voc_tree(path: Path) -> Seen | None:
    root = voc_root(path)
    what = "Pascal VOC without lists"
    return None if root is None else _detection(root, "voc", "", None, what)


def _masks(path: Path) -> Seen | None:
    beside = [p.name.removesuffix("annot") for p in path.glob("*annot") if p.is_dir()]
    beside = [name for name in beside if (path / name).is_dir()]
    if beside:
        train, val = _splits(beside)
        return _segmentation(path, "folders", train, val, path / train, path / f"{train}annot")
    images, masks = path / "images", path / "masks"
    if not (images.is_dir() and masks.is_dir()):
        return None
    below = [p.name for p in images.iterdir() if p.is_dir() and (masks / p.name).is_dir()]
    train, val = _splits(below) if below else ("", None)
    return _segmentation(path, "folders", train, val, images / train, masks / train)


def _classes(path: Path) -> Seen | None:
    try:
        train, val, classes, _ = list_folder(path)
    except InvalidArgument as error:
        folders = [entry for entry in path.iterdir() if entry.is_dir()]
        if len(folders) < 2:
            return None
        raise InvalidArgument("path", error.expected, str(error.got)) from error
    recipe = dict(parsed_recipe("folder"))
    recipe["data"] = {**recipe["data"], "name": f"folder:{path}"}
    # four steps an epoch at least, so that the batch statistics of small folders move
    recipe["batch_size"] = max(2, min(int(recipe["batch_size"]), len(train.paths) // 4))
    parts = split_folders(path)
    where = [f" in {part.name}/" for part in parts] if len(parts) == 2 else ["", ""]
    said = (
        f"{path}: {len(classes)} classes, {len(train.paths)} images to train on{where[0]}, "
        f"{len(val.paths)} to validate{where[1]}"
    )
    return Seen("classes", said, recipe)


def _splits(names: list[str]) -> tuple[str, str | None]:
    """The names of training and validation among splits."""
    train = next((name for name in _TRAIN if name in names), sorted(names)[0])
    others = [name for name in names if name != train]
    val = next((name for name in _VAL if name in others), others[0] if len(others) == 1 else None)
    return train, val


def _segmentation(
    path: Path, kind: str, train: str, val: str | None, images: Path, masks: Path
) -> Seen:
    classes = _class_names(path, masks)
    base = dict(parsed_recipe("masks"))
    base["data"] = {
        "format": kind, "root": str(path), "train": train, "val": val, "classes": classes,
        "image_size": _one_size(images),
    }  # fmt: skip
    judged = f"validation on {val}" if val else "a fifth held out for validation"
    said = f"{path}: masks of {len(classes)} classes ({', '.join(classes[:6])}"
    said += ", …" if len(classes) > 6 else ""
    return Seen("voc masks" if kind == "voc" else "masks", f"{said}); {judged}", base)


def _class_names(path: Path, masks: Path) -> list[str]:
    """From a list in the folder, else by the numbers in the masks."""
    file = next((path / name for name in _CLASS_LISTS if (path / name).is_file()), None)
    if file is not None:
        lines = [line.strip() for line in read_text(file, "path").splitlines()]
        names = [line for line in lines if line]
        check_names(names, "path", f" in {file}")
        return names
    values: set[int] = set()
    reasons: list[str] = []
    for mask in _spread(Files(masks).paths):
        try:
            values |= set(np.unique(read_indices(mask)).tolist())
        except ImageProblem as error:
            reasons.append(f"{mask}: {error}")
    if not values:
        got = reasons[0] if reasons else f"none in {masks}"
        raise InvalidArgument("path", "masks with a class number in every pixel", got)
    if values == {0, IGNORED}:
        return ["background", "object"]
    highest = max((value for value in values if value != IGNORED), default=0)
    if highest > IGNORED:  # numbers of objects, as a rule
        expected = f"masks with a class number below {IGNORED} in every pixel"
        raise InvalidArgument("path", expected, f"{highest} in {masks}")
    return ["background", *(f"class {n}" for n in range(1, max(1, highest) + 1))]


def _one_size(images: Path) -> list[int] | None:
    """None where all images have one size that is small, else the size to scale them to."""
    sizes: Counter[tuple[int, int]] = Counter()
    for file in _spread(Files(images).paths):
        try:
            sizes[image_size(file)] += 1
        except ImageProblem:
            continue
    if not sizes:
        raise InvalidArgument("path", "images", f"none in {images}")
    wide, high = sizes.most_common(1)[0][0]
    if len(sizes) == 1 and max(wide, high) <= LARGEST and _all_stored_as_one(images):
        return None
    scale = min(1.0, LARGEST / max(wide, high))
    return [max(32, round(high * scale / 32) * 32), max(32, round(wide * scale / 32) * 32)]


def _all_stored_as_one(images: Path) -> bool:
    """Whether all images have one size by their headers, which are quick to read."""
    sizes = set()
    for file in Files(images).paths:
        with suppress(ImageProblem):
            sizes.add(stored_size(file))
    return len(sizes) == 1


def _spread(files: list[Path]) -> list[Path]:
    """At most :data:`LOOKED_AT` of the files, spread over all."""
    step = max(1, len(files) // LOOKED_AT)
    return files[::step][:LOOKED_AT]
