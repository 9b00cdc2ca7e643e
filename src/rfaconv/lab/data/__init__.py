"""Images with classes, boxes and masks, and the readers of their files.

May import: decoding, files and errors.
"""

from rfaconv.lab.data.augment import Normalize, RandomHorizontalFlip, RandomShift, augmentation
from rfaconv.lab.data.base import ImageData, ImageForm, ImageSet, SkippedImage, TensorImages
from rfaconv.lab.data.load import DATA_NAMES, DataSpec, load_data
from rfaconv.lab.data.loaders import EpochShuffle, val_loader

__all__ = [
    "DATA_NAMES",
    "DataSpec",
    "EpochShuffle",
    "ImageData",
    "ImageForm",
    "ImageSet",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomShift",
    "SkippedImage",
    "TensorImages",
    "augmentation",
    "load_data",
    "val_loader",
]
