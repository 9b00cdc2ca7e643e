"""The trainings of a grid on a Ray cluster, whose machines see the same folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from rfaconv.errors import RFAConvError
from rfaconv.lab.pool import PATIENCE, RETRIES, Job, one_thread_each, train_cell
from rfaconv.lab.progress import Cell


def run_on_ray(
    jobs: Mapping[Cell, Job], threads: int
) -> Iterator[tuple[Cell, dict[str, Any]] | None]:
    """Trains on the cluster of ``RAY_ADDRESS``, or on this machine; yields what is finished.

    A training whose process or machine is lost is started again elsewhere, from its last
    checkpoint.

    Raises:
        RFAConvError: a training failed, or was lost again and again.
    """
    ray: Any = import_module("ray")
    began = not ray.is_initialized()
    with one_thread_each(threads):
        if began:
            ray.init(include_dashboard=False, log_to_driver=False)
    gpus = 1 if any(job["accelerator"] == "gpu" for job in jobs.values()) else 0
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(train_cell)
    running = {remote.remote(job): cell for cell, job in jobs.items()}
    try:
        while running:
            done, _ = ray.wait(list(running), timeout=PATIENCE)
            for reference in done:
                cell = running.pop(reference)
                try:
                    value: dict[str, Any] = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    raise cause if isinstance(cause, RFAConvError) else error from None
                except ray.exceptions.RayError as error:
                    text = str(error).splitlines()[0]
                    raise RFAConvError(f"{cell} was lost again and again ({text})") from error
                yield cell, value
            yield None
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if began:
            ray.shutdown()
