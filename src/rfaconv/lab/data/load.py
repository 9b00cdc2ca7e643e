"""From the name of a data set to its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.data.base import (
    ImageData,
    ImageSet,
    SkippedImage,
    TensorImages,
    channel_statistics,
    limit_per_class,
)
from rfaconv.lab.data.digits import NATIVE_SIZE, read_digits
from rfaconv.lab.data.eurosat import NATIVE_SIZE as EUROSAT_SIZE
from rfaconv.lab.data.eurosat import PARTS, read_eurosat
from rfaconv.lab.data.folder import Progress, read_folder
from rfaconv.lab.data.sample import read_sample
from rfaconv.lab.data.vision import NATIVE_SIZES, read_vision

FOLDER_PREFIX = "folder:"
FOLDER_SIZE = 64
SMALLEST, LARGEST = 4, 1024
SAMPLE = "eurosat-sample"
DATA_NAMES = ("digits", SAMPLE, *NATIVE_SIZES, "eurosat", "folder:PATH")


@dataclass(frozen=True)
class DataSpec:
    """Which images, in which form; everything that decides what ``load_data`` returns.

    Attributes:
        name: ``digits``, ``eurosat-sample``, ``fashion-mnist``, ``cifar10``, ``cifar100``,
            ``eurosat`` or ``folder:PATH``.
        image_size: height and width in pixels; None takes the set's own (64 for a folder).
        root: where torchvision's sets lie.
        download: whether torchvision may fetch a set that is not there.
        strict: whether a damaged image file is an error instead of being left out.
        limit: at most so many training images, the classes kept even; None for all.
        split_seed: seed of the split of a folder without ``val/``.
        part: which part of ``eurosat`` validates, ``val`` or ``test``.
        anew: whether the files of a folder are decoded anew in every epoch, however few they are.
    """

    name: str = "digits"
    image_size: int | None = None
    root: Path = Path("data")
    download: bool = False
    strict: bool = False
    limit: int | None = None
    split_seed: int = 0
    part: str = "val"
    anew: bool = False

    def __post_init__(self) -> None:
        if self.name.startswith("webdataset:"):
            expected = "folder:PATH with the images of the shards, as shards are read no more"
            raise InvalidArgument("data", expected, self.name)
        if not self.name.startswith(FOLDER_PREFIX) and self.name not in DATA_NAMES[:-1]:
            raise unknown_name("data", self.name, DATA_NAMES)
        if self.name == FOLDER_PREFIX:
            raise InvalidArgument("data", f"a place after {self.name}", self.name)
        if self.image_size is not None and not SMALLEST <= self.image_size <= LARGEST:
            raise InvalidArgument(
                "image_size", f"pixels from {SMALLEST} to {LARGEST}", self.image_size
            )
        if self.part not in PARTS:
            raise unknown_name("part", self.part, PARTS)
        if self.limit is not None and self.limit < 1:
            raise InvalidArgument("limit", "one image or more", self.limit)


def native_size(spec: DataSpec) -> int:
    """Height and width that the images of ``spec`` will have, in pixels.

    Example:
        >>> native_size(DataSpec("digits")), native_size(DataSpec("cifar10", image_size=64))
        (8, 64)
    """
    if spec.image_size is not None:
        return spec.image_size
    own = {"digits": NATIVE_SIZE, SAMPLE: EUROSAT_SIZE, "eurosat": EUROSAT_SIZE, **NATIVE_SIZES}
    return own.get(spec.name, FOLDER_SIZE)


def load_data(spec: DataSpec, progress: Progress | None = None) -> ImageData:
    """The images that ``spec`` names, as bytes, with class names and channel statistics.

    Args:
        spec: which images.
        progress: called with (files decoded, files in all) while a folder is read.

    Returns:
        Training images uint8 (N, C, S, S) and validation images of the same form.

    Raises:
        InvalidArgument: the images are missing, unreadable, damaged (strict) or a class has none.

    Example:
        >>> data = load_data(DataSpec("digits"))
        >>> data.train.__getitems__([0, 1])[0].shape, len(data.classes)
        (torch.Size([2, 1, 8, 8]), 10)
    """
    skipped: tuple[SkippedImage, ...] = ()
    size = native_size(spec)
    train: ImageSet
    val: ImageSet
    if spec.name.startswith(FOLDER_PREFIX):
        path = Path(spec.name.removeprefix(FOLDER_PREFIX)).expanduser()
        train, val, classes, skipped, digest = read_folder(
            path,
            size,
            split_seed=spec.split_seed,
            strict=spec.strict,
            limit=spec.limit,
            anew=spec.anew,
            progress=progress,
        )
    else:
        held, tested, classes, skipped = _named(spec)
        held = held.subset(limit_per_class(held.labels, spec.limit))
        train, val = held, tested = _resized(held, size), _resized(tested, size)
        digest = f"{held.digest()}-{tested.digest()}"
    mean, std = channel_statistics(train)
    return ImageData(
        name=spec.name,
        classes=classes,
        channels=len(mean),
        image_size=size,
        train=train,
        val=val,
        mean=mean,
        std=std,
        # A mirrored digit is another sign or none at all.
        hflip=spec.name != "digits",
        digest=digest,
        skipped=skipped,
    )


def _named(
    spec: DataSpec,
) -> tuple[TensorImages, TensorImages, tuple[str, ...], tuple[SkippedImage, ...]]:
    root = spec.root.expanduser()
    if spec.name == "eurosat":
        return read_eurosat(root, spec.part, spec.strict)
    bundled = {"digits": read_digits, SAMPLE: read_sample}.get(spec.name)
    read = bundled() if bundled else read_vision(spec.name, root, spec.download)
    return (*read, ())


def _resized(images: TensorImages, size: int) -> TensorImages:
    if images.images.shape[-1] == size:
        return images
    resize = v2.Resize((size, size), antialias=True)
    blocks: list[Tensor] = [resize(block) for block in images.images.split(1024)]
    return TensorImages(torch.cat(blocks), images.labels)
