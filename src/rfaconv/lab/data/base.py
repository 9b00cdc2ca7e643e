"""What a set of images is to the rest of the library, whatever it was read from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[Tensor, Tensor]


class ImageSet(Protocol):
    """Images that are handed out a batch at a time, as bytes.

    ``labels`` is an int64 tensor of shape (N,). ``__getitems__`` is the hook by which a
    ``DataLoader`` fetches a whole batch in one call: images uint8 (B, C, H, W), labels (B,).
    """

    @property
    def labels(self) -> Tensor:
        """Class indices, int64 (N,)."""
        ...

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> Batch: ...


class TensorImages(Dataset[Batch]):
    """Images that lie in memory as one uint8 tensor.

    Args:
        images: uint8 tensor (N, C, H, W).
        labels: int64 tensor (N,).

    Example:
        >>> images = TensorImages(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5))
        >>> images.__getitems__([0, 3])[0].shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels.long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> Batch:
        chosen = torch.as_tensor(indices)
        return self.images[chosen], self.labels[chosen]

    def subset(self, indices: Tensor) -> TensorImages:
        """The images at ``indices`` (int64, (M,)), in that order."""
        return TensorImages(self.images[indices], self.labels[indices])

    def digest(self) -> str:
        """A hexadecimal name of the content, equal for equal images and labels."""
        sha = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        sha.update(self.images.contiguous().numpy().tobytes())
        sha.update(self.labels.numpy().tobytes())
        return sha.hexdigest()[:16]


@dataclass(frozen=True)
class SkippedImage:
    """An image file that could not be decoded, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class ImageForm:
    """All that a network must know of the images that it was trained with.

    Attributes:
        classes: class names; a label is an index into them.
        channels: 1 or 3.
        image_size: height and width in pixels.
        mean, std: per channel, of the training images scaled to [0, 1].
    """

    classes: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ImageData(ImageForm):
    """A training set and a validation set with everything that training must know of them.

    Attributes:
        name: what the user asked for, such as ``digits`` or ``folder:flowers``.
        train, val: the images, uint8.
        hflip: whether a mirrored image keeps its meaning (a digit does not).
        digest: names the content: equal data, equal digest.
        skipped: files left out because they could not be decoded.
    """

    name: str
    train: ImageSet
    val: ImageSet
    hflip: bool
    digest: str
    skipped: tuple[SkippedImage, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """The same as sentences."""
        return tuple(map(str, self.skipped))


def channel_statistics(
    images: ImageSet, limit: int = 4096
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of images scaled to [0, 1].

    Of at most ``limit`` images, spread over the set.
    """
    count = len(images)
    indices = torch.linspace(0, count - 1, min(count, limit)).round().long().tolist()
    total, squares, pixels = torch.zeros(1), torch.zeros(1), 0
    for start in range(0, len(indices), 256):
        block = images.__getitems__(indices[start : start + 256])[0].double() / 255
        total = total + block.sum(dim=(0, 2, 3))
        squares = squares + block.square().sum(dim=(0, 2, 3))
        pixels += block.shape[0] * block.shape[2] * block.shape[3]
    mean = total / pixels
    # a channel that never changes would divide by zero; 1/255 is the smallest step of uint8
    std = (squares / pixels - mean.square()).clamp_min(0).sqrt().clamp_min(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


def limit_per_class(labels: Tensor, limit: int | None, seed: int = 0) -> Tensor:
    """Ascending indices of at most ``limit`` images, as even over the classes as can be."""
    if limit is None or limit >= len(labels):
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    # Rank of every image within its class: taking the lowest ranks first takes the classes in turn.
    rank = torch.empty(len(labels), dtype=torch.long)
    for label in labels.unique():
        members = order[labels[order] == label]
        rank[members] = torch.arange(len(members))
    chosen = order[torch.argsort(rank[order], stable=True)][:limit]
    return chosen.sort().values


def stratified_split(labels: Tensor, val_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices for training and validation, every class divided in the same proportion.

    Args:
        labels: int64 tensor (N,); every class needs two images or more.
        val_fraction: part of every class that goes to validation, in (0, 1).
        seed: seed of the shuffle; equal seeds give equal splits on every machine.

    Returns:
        Two ascending int64 tensors that together hold every index once.

    Example:
        >>> train, val = stratified_split(torch.tensor([0] * 8 + [1] * 4), 0.25, seed=0)
        >>> train.shape, val.shape
        (torch.Size([9]), torch.Size([3]))
    """
    generator = torch.Generator().manual_seed(seed)
    train, val = [], []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        held = min(max(1, round(len(members) * val_fraction)), len(members) - 1)
        val.append(members[:held])
        train.append(members[held:])
    return torch.cat(train).sort().values, torch.cat(val).sort().values
