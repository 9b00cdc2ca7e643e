"""Data loaders whose order depends on the seed and the epoch only, not on what ran before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import ImageSet


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


class GlobalBatches(Sampler[list[int]]):
    """This process's share of every optimizer step, in ``accumulate`` parts.

    Step s of an epoch is the same set of images for any number of processes. An incomplete last
    step is left out; a set smaller than a step is one step of what divides evenly.

    Args:
        size: number of images.
        batch_size: images in a step, over all processes.
        seed: which sequence of orders.
        rank: number of this process.
        world: processes.
        accumulate: parts of a step in each process.

    Raises:
        InvalidArgument: the batch does not divide into ``world * accumulate`` equal parts.

    Example:
        >>> [len(part) for part in GlobalBatches(10, 4, 0, rank=1, world=2)]
        [2, 2]
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1,
        accumulate: int = 1,
    ) -> None:  # fmt: skip
        parts = world * accumulate
        if batch_size % parts:
            expected = f"a multiple of {world} processes times {accumulate} parts"
            raise InvalidArgument("batch_size", expected, batch_size)
        step = min(batch_size, size // parts * parts)
        if step == 0:
            raise InvalidArgument("batch_size", f"{parts} training images or more", size)
        # under this name Lightning looks for what has to know the epoch
        self.sampler = EpochShuffle(size, seed)
        self.share, self.parts, self.steps = step // parts, parts, size // step
        self.offset, self.accumulate = rank * accumulate, accumulate
        self.done = (0, 0)

    def resume(self, epoch: int, batches: int) -> None:
        """In that epoch, leave the first ``batches`` of this process out: they are done."""
        self.sampler.set_epoch(epoch)
        self.done = (epoch, batches)

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        epoch, done = self.done
        for batch in range(done if self.sampler.epoch == epoch else 0, len(self)):
            step, part = divmod(batch, self.accumulate)
            start = (step * self.parts + self.offset + part) * self.share
            yield order[start : start + self.share]


def as_is(batch: Any) -> Any:
    """A batch that a set has put together itself."""
    return batch


def val_loader(images: ImageSet, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Every image once, in order."""
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=batch_size,
        collate_fn=as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
