"""Batches out of shards, divided among processes and their workers, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import Batch
from rfaconv.lab.data.decoding import seeded
from rfaconv.lab.data.shards import Sample, ShardImages

BUFFER = 2048
"""Undecoded samples among which the order is mixed, beside that of the shards."""


class ShardBatches(IterableDataset[Batch]):
    """This process's batches of an epoch: a function of (seed, epoch, processes, workers).

    Every process reads shards of its own, every worker of it again. All processes have the same
    number of batches: one whose shards have fewer images reads them again from the start, one
    whose shards have more leaves the last ones out.

    Args:
        images: the shards.
        batch_size: images in a batch.
        batches: of this process in an epoch; None for every image once, in order.
        seed: of the order and of random transforms.
        rank: number of this process.
        world: processes.
        workers: of each process's loader.

    Raises:
        InvalidArgument: fewer shards than readers.
    """

    def __init__(
        self, images: ShardImages, batch_size: int, batches: int | None = None, seed: int = 0,
        rank: int = 0, world: int = 1, workers: int = 0,
    ) -> None:  # fmt: skip
        readers = world * max(1, workers if batches is not None else 1)
        if len(images.urls) < readers:
            expected = f"{readers} shards or more, one for each of {world} processes' workers"
            raise InvalidArgument("data", expected, len(images.urls))
        self.images, self.batch_size, self.batches = images, batch_size, batches
        self.seed, self.rank, self.world = seed, rank, world
        self.epoch, self.done = 0, (0, 0)

    def resume(self, epoch: int, batches: int) -> None:
        """In that epoch, leave the first ``batches`` of this process out: they are read over."""
        self.epoch, self.done = epoch, (epoch, batches)

    def __len__(self) -> int:
        if self.batches is None:
            raise TypeError("as many batches as the shards have images for")
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        number, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if self.batches is None:
            yield from self._once(number, workers)
            return
        done = self.done[1] if self.done[0] == self.epoch else 0
        # the loader takes batches from the workers in turn, beginning with the first
        role = (number + done) % workers
        samples = self._forever(role, workers)
        for batch in range(role, self.batches, workers):
            if batch < done:
                for _ in range(self.batch_size):
                    next(samples)
                continue
            yield self._stack(samples, (self.epoch, self.rank, batch))

    def _stack(self, samples: Iterator[dict[str, Any]], key: object) -> Batch:
        chosen: list[Sample] = []
        with seeded(self.seed, key):
            while len(chosen) < self.batch_size:
                decoded = self.images.decode(next(samples))
                if decoded is not None:
                    chosen.append(decoded)
        return _batch(chosen)

    def _forever(self, role: int, workers: int) -> Iterator[dict[str, Any]]:
        import webdataset as wds

        urls = list(self.images.urls)
        random.Random(f"{self.seed}/{self.epoch}").shuffle(urls)
        mine = urls[self.rank :: self.world][role::workers]
        rng = random.Random(f"{self.seed}/{self.epoch}/{self.rank}/{role}")
        while True:
            empty = True
            stage = wds.shuffle(BUFFER, initial=BUFFER, rng=rng)
            for sample in self.images.raw(mine, stage):
                empty = False
                yield sample
            if empty:
                raise InvalidArgument("data", "images in every shard", f"none in {mine}")

    def _once(self, number: int, workers: int) -> Iterator[Batch]:
        mine = list(self.images.urls)[self.rank :: self.world][number::workers]
        chosen: list[Sample] = []
        for sample in self.images.raw(mine) if mine else ():
            decoded = self.images.decode(sample)
            if decoded is not None:
                chosen.append(decoded)
            if len(chosen) == self.batch_size:
                yield _batch(chosen)
                chosen = []
        if chosen:
            yield _batch(chosen)


def _batch(samples: list[Sample]) -> Batch:
    return torch.stack([s[0] for s in samples]), torch.tensor([s[1] for s in samples])
