"""Image sets for training and comparison.

May import: errors.
"""

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
