"""Several trainings at a time in processes that are kept; lost ones are replaced.

Every process has the threads of one training, and its OpenMP threads wait asleep: beside other
work on the machine trainings slow down in proportion.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rfaconv.errors import RFAConvError
from rfaconv.lab.progress import Cell

Job = dict[str, Any]
"""``recipe`` (its values), ``out`` (the run's folder), ``accelerator`` and ``index`` (of a GPU)."""

RETRIES = 3
"""Processes that may be lost one after the other without a training that ends."""
PATIENCE = 0.5


def train_cell(job: Job, on_epoch: Any = None) -> dict[str, Any]:
    """Trains one pair of a grid in its folder, from where an earlier process was lost.

    Returns:
        ``result``, which does not depend on time, and ``measured``.
    """
    from rfaconv.lab.recipes.files import checked
    from rfaconv.lab.train import RESULT_FILE, LaunchConfig, train_recipe

    recipe, out = checked(job["recipe"]), Path(job["out"])
    if recipe.task == "yolo" and not (out / RESULT_FILE).is_file():
        # what ultralytics resumes does not end with the numbers of what was never stopped
        shutil.rmtree(out, ignore_errors=True)
    crops = recipe.task == "classify" and recipe.data.crops
    alike = {"epochs": 1, **({} if crops else {"seed": 0})}
    plain = recipe.with_model(operator="conv").model_copy(update=alike)
    data = _images(plain.model_dump_json())
    launch = LaunchConfig(job["accelerator"], loggers=(), index=job.get("index", 0))
    value = train_recipe(recipe, out, launch, data=data, on_epoch=on_epoch)
    return {"result": value["result"], "measured": {"seconds": value["measured"]["seconds"]}}


@functools.lru_cache(maxsize=4)
def _images(text: str) -> Any:
    """The images of a recipe, kept for the pairs to come."""
    import json

    from rfaconv.lab.building import recipe_data
    from rfaconv.lab.recipes.files import checked

    return recipe_data(checked(json.loads(text)))


def run_jobs(
    jobs: Mapping[Cell, Job], workers: int, threads: int
) -> Iterator[tuple[Cell, dict[str, Any]] | None]:
    """Trains ``workers`` at a time; yields what is finished, and None now and then.

    Raises:
        RFAConvError: a training failed, or processes are lost again and again.
    """
    todo, lost = dict(jobs), 0
    while todo:
        pool = _pool(min(workers, len(todo)))
        try:
            with one_thread_each(threads):
                futures: dict[Future[Any], Cell] = {
                    pool.submit(train_cell, job): cell for cell, job in todo.items()
                }
            while futures:
                done, _ = wait(futures, timeout=PATIENCE, return_when=FIRST_COMPLETED)
                for future in done:
                    cell = futures.pop(future)
                    value = future.result()
                    del todo[cell]
                    lost = 0
                    yield cell, value
                yield None
        except BrokenProcessPool as error:
            lost += 1
            if lost > RETRIES:
                raise RFAConvError(
                    "training processes are killed again and again (out of memory?); "
                    "start the same command again to go on, with --jobs 1 to need less"
                ) from error
        finally:
            _stop(pool)


@contextmanager
def one_thread_each(threads: int) -> Iterator[None]:
    """Tells OpenMP in new processes how many threads to have, before they load it."""
    wanted = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start)


def _stop(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        # an unfinished training is started again anyway; a finished one has exited or is idle
        process.kill()
    for process in processes:
        process.join()


def _start() -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides and stops this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # a main process that was killed outright cannot stop its children
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
