"""Finds out which form a folder of labelled images has (Pascal VOC, COCO, masks), and reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.voc import read_voc, read_voc_tree, voc_lists, voc_root
from rfaconv.lab.data.yolo.labelled import Source, as_boxes, from_boxes, split_off
from rfaconv.lab.data.yolo.sources_coco import coco_files, read_coco_files
from rfaconv.lab.data.yolo.sources_masks import mask_folders, read_mask_folders

SPLITS = ("train", "val", "test")
TASKS = ("detect", "segment")
_EXPECTED = (
    "a Pascal VOC folder (Annotations), a COCO JSON or a folder with one, or a folder with images "
    "and masks"
)


def read_source(
    path: Path | str,
    task: str | None = None,
    *,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
    val: float = 0.2,
    strict: bool = False,
) -> Source:
    """Reads a folder or file of labelled pictures.

    Args:
        path: a Pascal VOC folder, a COCO JSON, a folder with one, or a folder with pictures and
            masks.
        task: ``detect`` or ``segment``; None for what the labels are made for: masks for
            ``segment``, others for ``detect``.
        images: folder of a COCO JSON's pictures, where it is not beside it.
        classes: names; needed for masks, whose pixels hold numbers from 1 on. None otherwise takes
            those of the labels.
        val: share of the pictures for validation where the source has no such part.
        strict: the first problem is an error.

    Returns:
        Pictures in the splits ``train`` and ``val``, and ``test`` if there is one.

    Raises:
        InvalidArgument: the path holds none of these, or an argument does not fit.
        DataProblem: as of :func:`rfaconv.lab.data.voc.read_voc`.
    """
    path = Path(path)
    if task not in (None, *TASKS):
        raise InvalidArgument("task", "detect or segment", repr(task))
    if not 0 < val < 1:
        raise InvalidArgument("val", "a number between 0 and 1", val)
    if not path.exists():
        raise InvalidArgument("source", _EXPECTED, f"{path}, which does not exist")
    masks = mask_folders(path)
    if masks and (task == "segment" or not (path / "Annotations").is_dir()):
        source = read_mask_folders(masks, classes, strict)
        return split_off(as_boxes(source) if task == "detect" else source, val)
    voc = voc_root(path)
    if voc is not None:
        if task == "segment":
            expected = "detect, as this folder has boxes alone"
            raise InvalidArgument("task", expected, repr(task))
        return split_off(_read_voc_root(voc, classes, strict), val)
    files = coco_files(path)
    if files:
        return split_off(read_coco_files(files, task or "detect", images, strict), val)
    raise InvalidArgument("source", _EXPECTED, str(path))


def _read_voc_root(root: Path, classes: Sequence[str] | None, strict: bool) -> Source:
    lists = voc_lists(root)
    wanted = [split for split in SPLITS if split in lists]
    if "train" not in wanted and "trainval" in lists:
        wanted = ["trainval", *[s for s in wanted if s == "test"]]
    if not wanted:
        return from_boxes({"": read_voc_tree(root, classes, strict=strict)})
    first = read_voc(root, wanted[0], classes, strict=strict)
    sets = {"train": first}
    for split in wanted[1:]:
        sets[split] = read_voc(root, split, first.classes, strict=strict)
    return from_boxes(sets)
