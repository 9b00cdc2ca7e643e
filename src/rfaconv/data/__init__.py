"""Image sets for training and comparison.

May import: errors.
"""

import warnings
from typing import Any

from rfaconv.data.augment import Normalize, RandomHorizontalFlip, RandomShift, augmentation
from rfaconv.data.base import ImageData, ImageSet, SkippedImage, TensorImages
from rfaconv.data.load import DATA_NAMES, DataSpec, load_data
from rfaconv.data.loaders import EpochShuffle, train_loader, val_loader

__all__ = [
    "DATA_NAMES",
    "DataSpec",
    "EpochShuffle",
    "ImageData",
    "ImageSet",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomShift",
    "SkippedImage",
    "TensorImages",
    "augmentation",
    "load_data",
    "train_loader",
    "val_loader",
]


def __getattr__(name: str) -> Any:
    if name != "RandomMirror":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    text = "rfaconv.data.RandomMirror is now RandomHorizontalFlip"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return RandomHorizontalFlip
