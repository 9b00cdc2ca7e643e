"""Data loaders whose order depends on the seed and the epoch only, not on what ran before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from rfaconv.lab.data.base import ImageSet
from rfaconv.lab.data.shards import ShardImages
from rfaconv.lab.data.streams import ShardBatches


class EpochShuffle(Sampler[int]):
    """A permutation that is a function of (seed, epoch); Lightning calls ``set_epoch``.

    A run that starts again at epoch 7 sees the order that epoch 7 has in a run that never stopped.

    Args:
        size: number of images.
        seed: which sequence of permutations.

    Example:
        >>> len(list(EpochShuffle(5, seed=0)))
        5
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return iter(torch.randperm(self.size, generator=generator).tolist())


def as_is(batch: Any) -> Any:
    """A batch that a set has put together itself."""
    return batch


def train_loader(images: ImageSet, batch_size: int, seed: int, workers: int = 0) -> DataLoader[Any]:
    """Shuffled batches; an incomplete last one is left out: BatchNorm needs more than one image.

    Args:
        images: the training set.
        batch_size: images a batch; a smaller set is one batch.
        seed: which sequence of orders.
        workers: processes that decode; 0 for sets in memory.
    """
    size = min(batch_size, len(images))
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=size,
        sampler=EpochShuffle(len(images), seed),
        drop_last=True,
        collate_fn=as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def val_loader(images: ImageSet, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Every image once, in order."""
    if isinstance(images, ShardImages):
        return DataLoader(ShardBatches(images, batch_size), batch_size=None, num_workers=workers)
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=batch_size,
        collate_fn=as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
