"""Folders of pictures and masks for YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfaconv.decoding import ImageProblem, image_size, read_indices
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DataProblem, Problem
from rfaconv.lab.data.yolo.labelled import Labelled, Source
from rfaconv.lab.data.yolo.polygons import Mask, mask_rows

_IMAGES = ("images", "JPEGImages", "imgs")
_MASKS = ("masks", "SegmentationClass", "labels", "annotations")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
           "validation": "val", "test": "test"}  # fmt: skip
_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_IGNORED = 255


@dataclass(frozen=True)
class Folders:
    """Where the pictures and masks of a split are."""

    images: Path
    masks: Path
    objects: Path | None = None
    stems: tuple[str, ...] | None = None


def mask_folders(path: Path) -> dict[str, Folders]:
    """The folders of a data set of masks by split; empty if it is none.

    Known are ``images`` and ``masks`` side by side, the same below ``train`` and ``val``, ``train``
    and ``val`` below them, and Pascal VOC's segmentation.
    """
    if not path.is_dir():
        return {}
    lists = {
        split: tuple(file.read_text(encoding="utf-8").split())
        for split in ("train", "val", "test")
        if (file := path / "ImageSets" / "Segmentation" / f"{split}.txt").is_file()
    }
    whole = _pair(path)
    if whole is None:
        return {
            split: found
            for word, split in _SPLITS.items()
            if (found := _pair(path / word)) is not None
        }
    if lists:
        return {s: Folders(whole.images, whole.masks, whole.objects, n) for s, n in lists.items()}
    below = {
        split: Folders(whole.images / word, whole.masks / word)
        for word, split in _SPLITS.items()
        if (whole.images / word).is_dir() and (whole.masks / word).is_dir()
    }
    return below or {"": whole}


def _pair(folder: Path) -> Folders | None:
    images = next((folder / n for n in _IMAGES if (folder / n).is_dir()), None)
    masks = next(
        (folder / n for n in _MASKS if (folder / n).is_dir() and any((folder / n).rglob("*.png"))),
        None,
    )
    if images is None or masks is None:
        return None
    objects = folder / "SegmentationObject"
    return Folders(images, masks, objects if objects.is_dir() else None)


def read_mask_folders(
    folders: dict[str, Folders], classes: Sequence[str] | None, strict: bool
) -> Source:
    """Reads masks: 0 is the background, 1 the first class, 255 is not labelled.

    Raises:
        InvalidArgument: no names of classes.
        DataProblem: with ``strict``, the first problem; or no picture is left.
    """
    if not classes:
        expected = "the names of the masks' values from 1 on, such as --classes cell,nucleus"
        raise InvalidArgument("classes", expected, "none")
    source = Source(tuple(classes))
    for split, part in folders.items():
        pictures = source.splits.setdefault(split, [])
        for image in sorted(p for p in part.images.iterdir() if p.suffix.lower() in _ENDINGS):
            if part.stems is not None and image.stem not in part.stems:
                continue
            found = _read(image, part, source)
            if strict and source.problems:
                raise DataProblem(source.problems[0])
            if found is not None:
                pictures.append(found)
    if not any(source.splits.values()):
        first = f"; first: {source.problems[0]}" if source.problems else ""
        raise DataProblem(f"no usable pair of picture and mask{first}")
    return source


def _read(image: Path, part: Folders, source: Source) -> Labelled | None:
    mask = part.masks / f"{image.stem}.png"
    try:
        size = image_size(image)
        values = _values(mask)
        objects = _values(part.objects / mask.name) if part.objects else None
    except FileNotFoundError as error:
        source.problems.append(str(Problem("missing mask", image, str(error.filename))))
        return None
    except (ImageProblem, OSError) as error:
        source.problems.append(str(Problem("bad image", image, str(error))))
        return None
    if values.shape != size[::-1] or (objects is not None and objects.shape != values.shape):
        detail = f"{values.shape[::-1]} pixels, the picture has {size}"
        source.problems.append(str(Problem("mask of another size", mask, detail)))
        return None
    known = range(1, len(source.classes) + 1)
    others = [v for v in np.unique(values).tolist() if v not in (0, _IGNORED, *known)]
    if others:
        detail = f"values {', '.join(map(str, others[:5]))}, known are 1 to {len(known)}"
        source.problems.append(str(Problem("unknown class", mask, detail)))
    return Labelled(image, tuple(mask_rows(values, objects, list(known))))


def _values(path: Path) -> Mask:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    values = read_indices(path)
    return values.clip(0, 255).astype(np.uint8)
