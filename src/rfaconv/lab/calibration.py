"""Images to calibrate an int8 export with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.decoding import ImageProblem, has_image_suffix, read_image
from rfaconv.errors import InvalidArgument
from rfaconv.export.source import Source

IMAGES = 128
"""Images that ranges are taken from, unless told otherwise."""


def calibration_pictures(folder: Path, source: Source, count: int = IMAGES) -> list[Tensor]:
    """Images of a folder and its subfolders, normalised as the network wants them.

    Args:
        folder: with image files, at any depth.
        source: its size, mean and standard deviation.
        count: at most so many, spread evenly over the folder.

    Returns:
        Tensors (1, channels, H, W).

    Raises:
        InvalidArgument: no images, one that cannot be decoded, or no normalisation is known.
    """
    if not folder.is_dir():
        raise InvalidArgument("calibration", "a folder of pictures", str(folder))
    if not source.mean:
        raise InvalidArgument("model", "one with mean and std, for the calibration", source.name)
    if source.channels not in (1, 3):
        raise InvalidArgument("model", "one of 1 or 3 channels, for pictures", source.channels)
    files = sorted(p for p in folder.rglob("*") if has_image_suffix(p))
    if not files:
        raise InvalidArgument("calibration", "a folder of pictures", f"none in {folder}")
    picked = torch.linspace(0, len(files) - 1, min(count, len(files))).round().long().tolist()
    transform = _transform(source)
    result = []
    for index in picked:
        try:
            result.append(transform(read_image(files[index])))
        except ImageProblem as error:
            got = f"{files[index]}: {error}"
            raise InvalidArgument("calibration", "pictures that can be decoded", got) from error
    return result


def _transform(source: Source) -> Any:
    from torchvision.transforms import v2

    high, wide = source.input_size
    return v2.Compose(
        [
            v2.RGB() if source.channels == 3 else v2.Grayscale(),
            v2.Resize((high, wide), antialias=True),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(source.mean, source.std),
            v2.ToPureTensor(),
            v2.Lambda(lambda x: x[None]),
        ]
    )
