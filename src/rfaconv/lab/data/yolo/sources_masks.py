"""Folders of pictures and masks for YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfaconv.decoding import ImageProblem, has_image_suffix, read_indices
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.lookup import Files
from rfaconv.lab.data.masks import IGNORED, MaskSet, read_masks, read_voc_masks
from rfaconv.lab.data.yolo.labelled import Labelled, Source
from rfaconv.lab.data.yolo.polygons import mask_rows

_IMAGES = ("images", "JPEGImages", "imgs")
_MASKS = ("masks", "SegmentationClass", "labels", "annotations")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
           "validation": "val", "test": "test"}  # fmt: skip


@dataclass(frozen=True)
class Folders:
    """Where the pictures and masks of a split are; ``listed`` are those of a Pascal VOC list."""

    images: Path
    masks: Path
    objects: Path | None = None
    listed: str | None = None


def mask_folders(path: Path) -> dict[str, Folders]:
    """The folders of a data set of masks by split; empty if it is none.

    Known are ``images`` and ``masks`` side by side, the same below ``train`` and ``val``, ``train``
    and ``val`` below them, and Pascal VOC's segmentation.
    """
    if not path.is_dir():
        return {}
    lists = [
        split
        for split in ("train", "val", "test")
        if (path / "ImageSets" / "Segmentation" / f"{split}.txt").is_file()
    ]
    whole = _pair(path)
    if whole is None:
        return {
            split: found
            for word, split in _SPLITS.items()
            if (found := _pair(path / word)) is not None
        }
    if lists and whole.images.name == "JPEGImages" and whole.masks.name == "SegmentationClass":
        return {s: Folders(whole.images, whole.masks, whole.objects, s) for s in lists}
    below = {
        split: Folders(whole.images / word, whole.masks / word)
        for word, split in _SPLITS.items()
        if (whole.images / word).is_dir() and (whole.masks / word).is_dir()
    }
    return below or {"": whole}


def _pair(folder: Path) -> Folders | None:
    images = next((folder / n for n in _IMAGES if (folder / n).is_dir()), None)
    masks = next(
        (folder / n for n in _MASKS if any(map(has_image_suffix, (folder / n).rglob("*")))), None
    )
    if images is None or masks is None:
        return None
    objects = folder / "SegmentationObject"
    return Folders(images, masks, objects if objects.is_dir() else None)


def read_mask_folders(
    folders: dict[str, Folders], classes: Sequence[str] | None, strict: bool
) -> Source:
    """Reads masks: 0 is the background, 1 the first class, 255 is not labelled.

    Masks of one class that have 0 and 255 alone mean the class by 255, and problems are as of
    :func:`rfaconv.lab.data.masks.read_masks`.

    Raises:
        InvalidArgument: no names of classes.
        RFAConvError: with ``strict``, the first problem; or no picture is left.
    """
    if not classes:
        expected = "the names of the masks' values from 1 on, such as --classes cell,nucleus"
        raise InvalidArgument("classes", expected, "none")
    source = Source(tuple(classes))
    for split, part in folders.items():
        named = ("background", *classes)
        if part.listed is None:
            found = read_masks(part.images, part.masks, named, strict=strict)
        else:
            found = read_voc_masks(part.images.parent, part.listed, named, strict=strict)
        source.problems += found.problems
        behind = found.unknown.get(len(named), 0)
        if behind:  # with a name too few it is no mark for what is not labelled
            known = f"known are 1 to {len(classes)}"
            source.problems.append(f"{part.masks}: {behind} pixels of value {len(named)}, {known}")
        source.splits[split] = _labelled(found, part, source)
        if strict and source.problems:
            raise DataProblem(source.problems[0])
    return source


def _labelled(found: MaskSet, part: Folders, source: Source) -> list[Labelled]:
    pictures = []
    objects = None if part.objects is None else Files(part.objects)
    for image, mask in found.pairs:
        values = read_indices(mask)
        if found.binary:
            values = np.where(values == IGNORED, 1, values)
        numbers = None
        if objects is not None:
            place = objects.named(image.stem) or objects.folder / mask.name
            try:
                numbers = read_indices(place)
            except ImageProblem as error:
                source.problems.append(f"{place}: {error}")
                continue
            if numbers.shape != values.shape:
                size = numbers.shape[::-1]
                detail = f"{size} pixels, the mask of classes has {values.shape[::-1]}"
                source.problems.append(f"{place}: {detail}")
                continue
        known = range(1, len(source.classes) + 1)
        pictures.append(Labelled(image, tuple(mask_rows(values, numbers, list(known)))))
    return pictures
