"""Several trainings at a time, each in a process of its own; none outlives the main process."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

from rfaconv.compare.pair import train_pair
from rfaconv.compare.settings import CompareSettings, Execution
from rfaconv.data import ImageData, load_data
from rfaconv.errors import RFAConvError
from rfaconv.training.module import EpochRecord

Event = tuple[Literal["epoch", "pair"], str, int, Any]
"""What happened, operator, seed, and the epoch's record or the pair's file content."""

_worker: dict[str, Any] = {}


def train_pairs(
    settings: CompareSettings, execution: Execution, pairs: Sequence[tuple[str, int]]
) -> Iterator[Event]:
    """Trains ``pairs``, ``execution.jobs`` at a time; yields epochs and results as they come.

    Raises:
        RFAConvError: a training failed, or its process died.
    """
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    pool = ProcessPoolExecutor(
        max_workers=min(execution.jobs, len(pairs)),
        mp_context=context,
        initializer=_start,
        initargs=(settings, execution, events),
    )
    try:
        futures: dict[Future[Any], tuple[str, int]] = {}
        with _one_thread_for_children(settings.threads):
            for operator, seed in pairs:
                futures[pool.submit(_train, operator, seed)] = (operator, seed)
        while futures:
            yield from _drain(events)
            for future in [f for f in futures if f.done()]:
                operator, seed = futures.pop(future)
                try:
                    value = future.result()
                except BrokenProcessPool as error:
                    raise RFAConvError(
                        "a training process was killed (out of memory?); "
                        "start the same command again to go on, with --jobs 1 to need less"
                    ) from error
                yield from _drain(events)
                yield "pair", operator, seed, value
    finally:
        _stop(pool)


def _drain(events: Any) -> Iterator[Event]:
    wait = 0.1
    while True:
        try:
            yield ("epoch", *events.get(timeout=wait))
        except queue.Empty:
            return
        wait = 0.0


def _stop(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        # an unfinished training is started again anyway; a finished one has exited or is idle
        process.kill()
    for process in processes:
        process.join()


class _one_thread_for_children:  # reads as a statement
    """Tells OpenMP in new processes how many threads to have, before they load it."""

    def __init__(self, threads: int) -> None:
        self.threads = str(threads)

    def __enter__(self) -> None:
        self.before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = self.threads

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = self.before


def _start(settings: CompareSettings, execution: Execution, events: Any) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides and stops this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    data: ImageData = load_data(settings.data)
    _worker.update(settings=settings, execution=execution, data=data, events=events)


def _leave_with_parent() -> None:
    # a main process that was killed outright cannot stop its children
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(operator: str, seed: int) -> dict[str, Any]:
    events = _worker["events"]

    def report(record: EpochRecord) -> None:
        events.put((operator, seed, record))

    return train_pair(
        _worker["settings"], _worker["execution"], _worker["data"], operator, seed, report
    )
