"""Weights of the classes in a cross-entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument

LOOKED_AT = 512
"""Masks in which pixels are counted, spread over all."""


def class_weights(wanted: Any, train: Any, classes: int) -> Tensor | None:
    """A weight for each class, or None.

    ``balanced`` is ``N / (K n_c)`` with N images or pixels, K classes and n_c of the class: all
    classes then weigh the same together.

    Args:
        wanted: ``balanced``, numbers, or None.
        train: images with ``labels``, or pairs of images and masks.
        classes: number of classes.

    Raises:
        InvalidArgument: as many numbers as there are classes are wanted.
    """
    if wanted is None:
        return None
    if wanted != "balanced":
        if len(wanted) != classes:
            raise InvalidArgument("class_weights", f"{classes} numbers", len(wanted))
        return torch.tensor(wanted, dtype=torch.float32)
    counts = torch.zeros(classes, dtype=torch.float64)
    if hasattr(train, "pairs"):
        step = max(1, len(train) // LOOKED_AT)
        for index in range(0, len(train), step):
            mask = train[index][1]
            counts += torch.bincount(mask[mask < classes].flatten(), minlength=classes)
    else:
        counts += torch.bincount(train.labels, minlength=classes)
    return (counts.sum() / (classes * counts.clamp_min(1))).float()
