"""Images with a class for every pixel, from folders of masks or from Pascal VOC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rfaconv.decoding import ImageProblem, image_size, read_image, read_indices, stored_size
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.data.lookup import Files, check_names, read_names

IGNORED = 255
"""Value of pixels that count neither in the loss nor in the metric."""

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


class MaskSet(Dataset[tuple[Tensor, Tensor]]):
    """Images and masks: float32 (3, H, W) in [0, 1] and int64 (H, W), :data:`IGNORED` included.

    Args:
        pairs: files of image and mask.
        classes: names; a pixel's value is an index into them.
        problems: what was left out, one line each.
        unknown: how many pixels of which values are above the classes; they are ignored.
        size: height and width that images and masks are scaled to; None leaves them.
        binary: whether 255 is the second class, as in masks that have 0 and 255 alone.
        sizes: width and height of the images, each once.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        classes: Sequence[str],
        problems: Sequence[str] = (),
        unknown: dict[int, int] | None = None,
        size: tuple[int, int] | None = None,
        binary: bool = False,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.size, self.binary, self.sizes = size, binary, tuple(sizes)
        self.pairs, self.classes = tuple(pairs), tuple(classes)
        self.problems, self.unknown = tuple(problems), dict(unknown or {})

    def __len__(self) -> int:
        return len(self.pairs)

    def subset(self, indices: Sequence[int]) -> MaskSet:
        """The images at ``indices``, with the problems if the first image is among them."""
        pairs, first = [self.pairs[i] for i in indices], 0 in indices
        problems, unknown = (self.problems, self.unknown) if first else ((), {})
        return MaskSet(pairs, self.classes, problems, unknown, self.size, self.binary, self.sizes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        from PIL import Image

        picture, mask = self.pairs[index]
        try:
            colours, values = read_image(picture), read_indices(mask)
        except ImageProblem as error:
            raise RFAConvError(f"{picture} or its mask can no longer be read: {error}") from error
        if self.binary:
            values = np.where(values == IGNORED, 1, values)
        values[(values < 0) | (values >= len(self.classes))] = IGNORED
        numbers = Image.fromarray(values.astype(np.uint8))
        if self.size is not None:
            shape = self.size[::-1]
            colours = colours.resize(shape, Image.Resampling.BILINEAR)
            numbers = numbers.resize(shape, Image.Resampling.NEAREST)
        pixels = torch.from_numpy(np.array(colours))
        labels = torch.from_numpy(np.array(numbers)).long()
        return pixels.permute(2, 0, 1).float() / 255, labels


def read_masks(
    images: Path | str, masks: Path | str, classes: Sequence[str], *, strict: bool = False
) -> MaskSet:
    """Pairs the images of a folder with the masks of the same names in another.

    A mask has a class number in every pixel: the index of a palette, or a grey value. Masks of
    two classes that have 0 and 255 alone, in the whole folder, mean the second class by 255. An
    image without a mask, a mask without an image, a damaged file, colours, a lossy JPEG, a mask of
    another size and one whose objects are all ignored are named in ``problems``; values that are no
    class are counted in ``unknown`` and ignored.

    Args:
        images: folder of images.
        masks: folder of masks.
        classes: names, in the order of their indices.
        strict: a problem is an error, except pixels of value 255 or of the one value behind the
            last class, by which data sets mark what they do not label.

    Raises:
        InvalidArgument: a folder does not exist, or there are too many classes.
        RFAConvError: with ``strict``, the first problem; or nothing is left.
    """
    for name, folder in (("images", Path(images)), ("masks", Path(masks))):
        if not folder.is_dir():
            raise InvalidArgument(name, "a folder", str(folder))
    pictures, found = Files(Path(images)), Files(Path(masks))
    problems = [
        f"{mask}: no image of this name"
        for mask in found.paths
        if not pictures.all_named(mask.stem)
    ]
    pairs = [(path, _mask(found, path.stem)) for path in pictures.paths]
    return _pair(pairs, classes, strict, problems)


def read_voc_masks(
    root: Path | str, split: str, classes: Sequence[str], *, strict: bool = False
) -> MaskSet:
    """Reads ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation/SPLIT.txt``.

    Args:
        root: folder that holds the three.
        split: name of a list.
        classes: names with the background first.
        strict: as of :func:`read_masks`.

    Raises:
        InvalidArgument: there is no such list, or it cannot be read.
        RFAConvError: as of :func:`read_masks`.
    """
    root = Path(root)
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not names.is_file():
        raise InvalidArgument("split", f"a file {names}", repr(split))
    pictures, masks = Files(root / "JPEGImages"), Files(root / "SegmentationClass")
    stems, twice = read_names(names, lambda name: bool(pictures.named(name) or masks.named(name)))
    pairs = [(pictures.named(s) or pictures.folder / f"{s}.jpg", _mask(masks, s)) for s in stems]
    return _pair(pairs, classes, strict, [f"{names}: {stem} twice" for stem in twice])


def _mask(masks: Files, stem: str) -> Path:
    """The mask of an image: where there are several, one that keeps its numbers."""
    found = sorted(masks.all_named(stem), key=lambda path: path.suffix.lower() in _LOSSY)
    return found[0] if found else masks.folder / f"{stem}.png"


def _pair(
    candidates: Sequence[tuple[Path, Path]],
    classes: Sequence[str],
    strict: bool,
    problems: list[str],
) -> MaskSet:
    if len(classes) > IGNORED:
        expected = f"{IGNORED} at most, as value {IGNORED} marks what is not labelled"
        raise InvalidArgument("classes", expected, len(classes))
    check_names(classes, "classes")
    kept: list[tuple[Path, Path]] = []
    counts: list[dict[int, int]] = []
    sizes: dict[tuple[int, int], None] = {}
    for picture, mask in candidates:
        path = picture
        try:
            size, stored = image_size(picture), stored_size(picture)
            path = mask
            values = read_indices(mask)
        except ImageProblem as error:
            problems.append(f"{path}: {error}")
            continue
        if values.shape != (size[1], size[0]):
            why = f", {stored} before it is turned upright" if stored != size else ""
            problems.append(f"{mask}: {values.shape[::-1]} pixels, the image has {size}{why}")
            continue
        found, numbers = np.unique(values, return_counts=True)
        kept.append((picture, mask))
        sizes[size] = None
        counts.append(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
    every = set().union(*counts) if counts else set()
    binary = len(classes) == 2 and every == {0, IGNORED}
    unknown: Counter[int] = Counter()
    for (_, mask), values_of in zip(kept, counts, strict=True):
        if not binary:
            problems += _doubts(mask, values_of, len(classes), unknown)
    if strict and problems:
        raise RFAConvError(f"{problems[0]} ({len(problems)} problems)")
    if not kept:
        first = f"; first: {problems[0]}" if problems else ""
        raise RFAConvError(f"no usable pair of image and mask{first}")
    return MaskSet(kept, classes, problems, dict(unknown), binary=binary, sizes=list(sizes))


def _doubts(mask: Path, counts: dict[int, int], classes: int, unknown: Counter[int]) -> list[str]:
    """What is odd about the values of a mask; those that are no class are counted."""
    problems = []
    for value, count in counts.items():
        if (value < 0 or value >= classes) and value != IGNORED:
            unknown[value] += count
            if value != classes:
                problems.append(f"{mask}: {count} pixels of value {value}, not a class")
    if counts.get(IGNORED, 0) and not any(0 < value < classes for value in counts):
        count = counts[IGNORED]
        problems.append(f"{mask}: all {count} pixels of objects have value 255, which is ignored")
    return problems
