"""Scikit-learn's bundled handwritten digits: 1,797 real images of 8x8 pixels, no download."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.lab.data.base import TensorImages, stratified_split

VAL_FRACTION = 0.25
SPLIT_SEED = 0
NATIVE_SIZE = 8


def read_digits() -> tuple[TensorImages, TensorImages, tuple[str, ...]]:
    """Training images (1,347), validation images (450), class names; always the same split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(bunch.images)  # (N, 8, 8), ink in 0 .. 16
    images: Tensor = (grey * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    every = TensorImages(images, labels)
    train, val = stratified_split(labels, VAL_FRACTION, SPLIT_SEED)
    return every.subset(train), every.subset(val), tuple(str(digit) for digit in range(10))
