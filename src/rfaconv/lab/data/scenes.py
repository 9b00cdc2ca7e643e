"""Random changes of images together with their boxes or their mask, by torchvision's v2.

All randomness comes from torch's global generator, as in :mod:`rfaconv.lab.data.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

SCALES = (0.5, 2.0)
"""Of ``scale-jitter``."""
CROPS = (0.5, 1.0)
"""Least and largest part of the image's area in ``crop``, with a mask."""
GREY = 0.5
"""What fills an image up."""


def change_boxes(
    image: Tensor, target: dict[str, Tensor], names: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """An image (3, H, W) in [0, 1] and its boxes, changed; boxes that are left outside are dropped.

    Args:
        image: the image.
        target: ``boxes`` (N, 4) as corners, ``labels`` (N,), and whatever else, which stays.
        names: of ``scale-jitter`` (between half and twice the size, then cropped or filled up to
            its own), ``crop`` (a part that keeps boxes, of its own size) and ``photometric``
            (brightness, contrast, saturation, hue).

    Returns:
        Both anew; there may be no box.
    """
    high, wide = image.shape[-2:]
    corners: Any = tv_tensors.BoundingBoxes(
        target["boxes"], format="XYXY", canvas_size=(high, wide)
    )
    crop = v2.RandomIoUCrop()
    steps = [*_steps(names, (high, wide), crop, 0), v2.SanitizeBoundingBoxes(labels_getter=_labels)]
    known = {"boxes": corners, "labels": target["labels"]}
    changed, found = v2.Compose(steps)(tv_tensors.Image(image), known)
    boxes = found["boxes"].as_subclass(torch.Tensor)
    return changed.as_subclass(torch.Tensor), {**target, "boxes": boxes, "labels": found["labels"]}


def change_masks(
    images: Tensor, masks: Tensor, names: Sequence[str], ignored: int
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1] and masks (B, H, W), each pair changed by itself.

    Args:
        images: the images.
        masks: classes of their pixels.
        names: as of :func:`change_boxes`; ``crop`` is a part, enlarged to the image's own size.
        ignored: the class of pixels that fill an image up.
    """
    size = (images.shape[-2], images.shape[-1])
    crop = v2.RandomResizedCrop(size, CROPS, antialias=True)
    change = v2.Compose(_steps(names, size, crop, ignored))
    pairs = [
        change(tv_tensors.Image(image), tv_tensors.Mask(mask))
        for image, mask in zip(images, masks, strict=True)
    ]
    first, second = (torch.stack(part) for part in zip(*pairs, strict=True))
    return first.as_subclass(torch.Tensor), second.as_subclass(torch.Tensor)


def _steps(names: Sequence[str], size: tuple[int, int], crop: Any, ignored: int) -> list[Any]:
    """In this order, whatever that of the names."""
    fill = {tv_tensors.Image: GREY, tv_tensors.Mask: ignored}
    whole = v2.RandomCrop(size, pad_if_needed=True, fill=fill)
    known = {
        "photometric": [v2.RandomPhotometricDistort()],
        "scale-jitter": [v2.ScaleJitter(size, SCALES, antialias=True), whole],
        "crop": [crop],
    }
    return [step for name, steps in known.items() if name in names for step in steps]


def _labels(inputs: Any) -> Tensor:
    labels: Tensor = inputs[1]["labels"]
    return labels
