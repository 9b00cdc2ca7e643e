"""What a running comparison tells whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from rfaconv.training.module import EpochRecord


class Progress(Protocol):
    """Hooks of a running comparison; all are called in the process that was started."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def decoding(self, done: int, total: int) -> None:
        """So many image files of a folder are read."""

    def begin(self, pairs: int, finished: int, epochs: int) -> None:
        """The trainings begin; ``finished`` of ``pairs`` are there from an earlier run."""

    def epoch(self, operator: str, seed: int, record: EpochRecord, remaining: float) -> None:
        """A training finished an epoch; ``remaining`` seconds are estimated for the whole run."""

    def pair(self, operator: str, seed: int, top1: float, seconds: float, remaining: float) -> None:
        """A training is finished."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None: ...  # noqa: D102

    def decoding(self, done: int, total: int) -> None: ...  # noqa: D102

    def begin(self, pairs: int, finished: int, epochs: int) -> None: ...  # noqa: D102

    def epoch(  # noqa: D102
        self, operator: str, seed: int, record: EpochRecord, remaining: float
    ) -> None: ...

    def pair(  # noqa: D102
        self, operator: str, seed: int, top1: float, seconds: float, remaining: float
    ) -> None: ...


class Clock:
    """Estimates what is left from measured training steps, corrected by the pace so far.

    Args:
        step_seconds: of a training step, per operator.
        pairs: trainings still to do.
        epochs: of each.
        steps: in an epoch.
        jobs: trainings at a time.
    """

    def __init__(
        self,
        step_seconds: Mapping[str, float],
        pairs: tuple[tuple[str, int], ...],
        epochs: int,
        steps: int,
        jobs: int,
    ) -> None:
        self.epoch_work = {name: seconds * steps for name, seconds in step_seconds.items()}
        self.work = {pair: self.epoch_work[pair[0]] * epochs for pair in pairs}
        self.total = sum(self.work.values())
        self.done: dict[tuple[str, int], float] = {}
        self.jobs = min(jobs, len(pairs)) or 1
        self.started: tuple[float, float] | None = None

    def advance(self, operator: str, seed: int, epoch: int) -> None:
        """A training has finished epoch number ``epoch``, counted from 0."""
        self.done[operator, seed] = self.epoch_work[operator] * (epoch + 1)
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
