"""Progress of a comparison on a terminal: bars, one line per finished training, what is left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.console import Console

from rfaconv.cli._options import plain_console
from rfaconv.lab.progress import Cell, Progress
from rfaconv.lab.training.module import EpochRecord


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


class RichProgress(Progress):
    """Shows a comparison on stderr; a context manager.

    Args:
        console: where to; None is stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or plain_console()
        self.bars = bars.Progress(
            bars.TextColumn("[bold]{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[text]}"),
            console=self.console,
            transient=True,
            # a file or a pipe gets the lines alone
            disable=not self.console.is_terminal,
        )
        self.whole: bars.TaskID | None = None
        self.running: dict[Cell, bars.TaskID] = {}
        self.pairs = self.finished = 0

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
        self.bars.console.print(text, style="yellow")

    def begin(self, pairs: int, finished: int) -> None:
        """The bar of all trainings."""
        self.pairs, self.finished = pairs, finished
        if finished:
            self.note(f"{finished} of {pairs} trainings are there from an earlier run")
        self.bars.start()
        self.whole = self.bars.add_task(
            "trainings", total=pairs, completed=finished, text="estimating what is left"
        )

    def epoch(self, cell: Cell, record: EpochRecord, epochs: int, remaining: float) -> None:
        """The bar of one training."""
        if cell not in self.running:
            self.running[cell] = self.bars.add_task(str(cell), total=epochs, text="")
        self.bars.update(
            self.running[cell],
            completed=record.epoch + 1,
            text=f"epochs, {100 * record.score:.1f}%",
        )
        self._left(remaining)

    def pair(self, cell: Cell, score: float, seconds: float, remaining: float) -> None:
        """A line for a finished training."""
        self.finished += 1
        task = self.running.pop(cell, None)
        if task is not None:
            self.bars.remove_task(task)
        assert self.whole is not None
        self.bars.update(self.whole, completed=self.finished)
        self._left(remaining)
        width = len(str(self.pairs))
        left = f", about {duration(remaining)} left" if self.finished < self.pairs else ""
        self.bars.console.print(
            f"[{self.finished:{width}}/{self.pairs}] {cell}: {100 * score:.2f}% "
            f"in {duration(seconds)}{left}",
        )

    def _left(self, remaining: float) -> None:
        assert self.whole is not None
        self.bars.update(self.whole, text=f"about {duration(remaining)} left")
