"""Requests collected into batches for one network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class Batcher:
    """Runs items that arrive within a few milliseconds of each other as one batch.

    While a batch runs the next one gathers; a full batch starts at once.

    Args:
        run: from a sequence of items to their results, in order; called in a thread of its own.
        max_batch: items in one run at most.
        max_wait: seconds that the first item of a batch waits for others.
    """

    def __init__(
        self,
        run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
        max_batch: int,
        max_wait: float,
    ) -> None:
        self._run, self._max_batch, self._max_wait = run, max_batch, max_wait
        self._queue: asyncio.Queue[tuple[np.ndarray, asyncio.Future]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "network")
        self._worker: asyncio.Task | None = None

    @property
    def alive(self) -> bool:
        """Whether items are being answered."""
        return self._worker is not None and not self._worker.done()

    async def __call__(self, item: np.ndarray) -> np.ndarray:
        """The result of one item; an exception of its batch."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((item, future))
        return await future

    async def __aenter__(self) -> Batcher:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            try:
                items = [item for item, _ in batch]
                results = await loop.run_in_executor(self._thread, self._run, items)
            except Exception as error:  # of this batch alone: its requests get it, others go on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _gather(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        batch = [await self._queue.get()]
        try:
            async with asyncio.timeout(self._max_wait):
                while len(batch) < self._max_batch:
                    batch.append(await self._queue.get())
        except TimeoutError:
            pass
        return batch
