"""What a running grid tells whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from rfaconv.lab.training.module import EpochRecord


class Cell(NamedTuple):
    """One training of a grid."""

    recipe: str
    operator: str
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe} {self.operator} seed {self.seed}"


class Progress:
    """Hooks of a running grid, called in the process that was started; these show nothing."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def begin(self, pairs: int, finished: int) -> None:
        """The trainings begin; ``finished`` of ``pairs`` are there from an earlier run."""

    def epoch(self, cell: Cell, record: EpochRecord, epochs: int, remaining: float) -> None:
        """A training finished an epoch; ``remaining`` seconds are estimated for the whole run."""

    def pair(self, cell: Cell, score: float, seconds: float, remaining: float) -> None:
        """A training is finished."""


class Clock:
    """Estimates what is left from measured training steps, corrected by the pace so far.

    Args:
        work: seconds that every training is expected to take, alone on the machine.
        jobs: trainings at a time.
    """

    def __init__(self, work: Mapping[Cell, float], jobs: int) -> None:
        self.work = dict(work)
        self.total = sum(self.work.values())
        self.done: dict[Cell, float] = {}
        self.jobs = min(jobs, len(work)) or 1
        self.started: tuple[float, float] | None = None

    def advance(self, cell: Cell, part: float) -> None:
        """A training has got so far, as a part of the whole."""
        self.done[cell] = self.work[cell] * part
        if self.started is None:
            # from the first sign of life: how long processes take to start says nothing of the pace
            self.started = (time.monotonic(), sum(self.done.values()))

    def remaining(self) -> float:
        """Seconds that are left, as far as one can tell."""
        done = sum(self.done.values())
        left = max(0.0, self.total - done)
        if self.started is not None:
            since, at = self.started
            if done - at > 0.03 * self.total:
                return (time.monotonic() - since) * left / (done - at)
        return left / self.jobs
