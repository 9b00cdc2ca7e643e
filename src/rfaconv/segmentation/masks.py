"""Pictures with a class for every pixel, from folders of PNG masks or from Pascal VOC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rfaconv.errors import InvalidArgument, RFAConvError

IGNORED = 255
"""Value of pixels that count neither in the loss nor in the metric."""

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


class MaskSet(Dataset[tuple[Tensor, Tensor]]):
    """Pictures and masks: float32 (3, H, W) in [0, 1] and int64 (H, W), :data:`IGNORED` included.

    Args:
        pairs: files of picture and mask.
        classes: names; a pixel's value is an index into them.
        problems: what was left out, one line each.
        unknown: how many pixels of which values are above the classes; they are ignored.
        size: height and width that pictures and masks are scaled to; None leaves them.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        classes: Sequence[str],
        problems: Sequence[str] = (),
        unknown: dict[int, int] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.size = size
        self.pairs, self.classes = tuple(pairs), tuple(classes)
        self.problems, self.unknown = tuple(problems), dict(unknown or {})

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        from PIL import Image

        from rfaconv.data.pictures import open_picture

        picture, mask = self.pairs[index]
        with open_picture(picture) as image:
            colours = image.convert("RGB")
        values = Image.fromarray(_values(mask))
        if self.size is not None:
            shape = self.size[::-1]
            colours = colours.resize(shape, Image.Resampling.BILINEAR)
            values = values.resize(shape, Image.Resampling.NEAREST)
        pixels = torch.from_numpy(np.array(colours))
        labels = torch.from_numpy(np.array(values)).long()
        labels[labels >= len(self.classes)] = IGNORED
        return pixels.permute(2, 0, 1).float() / 255, labels


def read_masks(
    images: Path | str, masks: Path | str, classes: Sequence[str], *, strict: bool = False
) -> MaskSet:
    """Pairs the pictures of a folder with the PNG masks of the same names in another.

    A picture without a mask, a damaged file and a mask of another size are named in ``problems``
    and left out; values that are no class are counted in ``unknown`` and ignored.

    Args:
        images: folder of pictures.
        masks: folder of masks with a class index in every pixel.
        classes: names, in the order of their indices.
        strict: a problem is an error, except pixels of value 255 or of the one value behind the
            last class, by which data sets mark what they do not label.

    Raises:
        InvalidArgument: a folder does not exist.
        RFAConvError: with ``strict``, the first problem; or nothing is left.
    """
    for name, folder in (("images", Path(images)), ("masks", Path(masks))):
        if not folder.is_dir():
            raise InvalidArgument(name, "a folder", str(folder))
    pictures = sorted(p for p in Path(images).iterdir() if p.suffix.lower() in _ENDINGS)
    return _pair([(p, Path(masks) / f"{p.stem}.png") for p in pictures], classes, strict)


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
        InvalidArgument: there is no such list.
        RFAConvError: as of :func:`read_masks`.
    """
    root = Path(root)
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not names.is_file():
        raise InvalidArgument("split", f"a file {names}", repr(split))
    stems = names.read_text(encoding="utf-8").split()
    pairs = [
        (root / "JPEGImages" / f"{s}.jpg", root / "SegmentationClass" / f"{s}.png") for s in stems
    ]
    return _pair(pairs, classes, strict)


def _pair(candidates: Sequence[tuple[Path, Path]], classes: Sequence[str], strict: bool) -> MaskSet:
    from rfaconv.data.pictures import open_picture

    kept: list[tuple[Path, Path]] = []
    problems: list[str] = []
    unknown: Counter[int] = Counter()
    for picture, mask in candidates:
        try:
            with open_picture(picture) as image:
                image.load()
                size = image.size
            values = _values(mask)
        except (OSError, ImportError) as error:  # ultralytics makes Pillow look for a plugin first
            problems.append(f"{picture}: {error}")
            continue
        if values.shape != (size[1], size[0]):
            problems.append(f"{mask}: {values.shape[::-1]} pixels, the picture has {size}")
            continue
        found, counts = np.unique(values, return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            if value >= len(classes) and value != IGNORED:
                unknown[value] += count
                if value > len(classes):
                    problems.append(f"{mask}: {count} pixels of value {value}, not a class")
        kept.append((picture, mask))
    if strict and problems:
        raise RFAConvError(f"{problems[0]} ({len(problems)} problems)")
    if not kept:
        first = f"; first: {problems[0]}" if problems else ""
        raise RFAConvError(f"no usable pair of picture and mask{first}")
    return MaskSet(kept, classes, problems, dict(unknown))


def _values(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from rfaconv.data.pictures import open_picture

    with open_picture(path) as image:
        # a palette's indices are the classes; colours are not
        grey = image if image.mode in ("L", "P") else image.convert("L")
        return np.array(grey, dtype=np.uint8)
