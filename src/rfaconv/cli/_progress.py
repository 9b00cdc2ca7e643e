"""Progress of a comparison on a terminal: bars, one line per finished training, what is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rfaconv.training.module import EpochRecord


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(7.2), duration(185), duration(7260)
        ('7 s', '3 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class RichProgress:
    """Shows a comparison on stderr; a context manager.

    Args:
        console: where to; None is stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            transient=True,
            # a file or a pipe gets the lines alone
            disable=not self.console.is_terminal,
        )
        self.files: TaskID | None = None
        self.whole: TaskID | None = None
        self.running: dict[tuple[str, int], TaskID] = {}
        self.pairs = self.epochs = self.finished = 0
        self.start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def note(self, text: str) -> None:
        """A line above the bars."""
        self.bars.console.print(text, style="yellow", highlight=False, markup=False)

    def decoding(self, done: int, total: int) -> None:
        """Image files read."""
        if self.files is None:
            self.bars.start()
            self.files = self.bars.add_task("reading images", total=total, text="")
        self.bars.update(self.files, completed=done)
        if done == total:
            self.bars.remove_task(self.files)
            self.files = None

    def begin(self, pairs: int, finished: int, epochs: int) -> None:
        """The bar of all trainings."""
        self.pairs, self.finished, self.epochs = pairs, finished, epochs
        if finished:
            self.note(f"{finished} of {pairs} trainings are there from an earlier run")
        self.bars.start()
        self.whole = self.bars.add_task(
            "trainings", total=pairs, completed=finished, text="estimating what is left"
        )

    def epoch(self, operator: str, seed: int, record: EpochRecord, remaining: float) -> None:
        """The bar of one training."""
        key = (operator, seed)
        if key not in self.running:
            name = f"{operator} seed {seed}"
            self.running[key] = self.bars.add_task(name, total=self.epochs, text="")
        self.bars.update(
            self.running[key],
            completed=record.epoch + 1,
            text=f"epochs, top-1 {100 * record.val_top1:.1f}%",
        )
        self._left(remaining)

    def pair(self, operator: str, seed: int, top1: float, seconds: float, remaining: float) -> None:
        """A line for a finished training."""
        self.finished += 1
        task = self.running.pop((operator, seed), None)
        if task is not None:
            self.bars.remove_task(task)
        assert self.whole is not None
        self.bars.update(self.whole, completed=self.finished)
        self._left(remaining)
        width = len(str(self.pairs))
        left = f", about {duration(remaining)} left" if self.finished < self.pairs else ""
        self.bars.console.print(
            f"[{self.finished:{width}}/{self.pairs}] {operator:<6} seed {seed}: "
            f"{100 * top1:.2f}% in {duration(seconds)}{left}",
            highlight=False,
            markup=False,
        )

    def _left(self, remaining: float) -> None:
        assert self.whole is not None
        self.bars.update(self.whole, text=f"about {duration(remaining)} left")
