"""What happens at the end of every epoch, whatever is trained."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rfaconv.files import write_atomic


class Report(Callback):
    """Calls a function with the record of every epoch.

    Args:
        on_epoch: called with the newest entry of the module's ``history``.
    """

    def __init__(self, on_epoch: Callable[[Any], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands the record over."""
        history: Any = pl_module.history
        self.on_epoch(history[-1])


class Curve(Callback):
    """Keeps ``metrics.csv``: one line per epoch, rewritten whole.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "metrics.csv"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the history."""
        history: Any = pl_module.history
        if trainer.is_global_zero:
            text = io.StringIO()
            rows = [record.named(pl_module.score_name) for record in history]
            table = csv.DictWriter(text, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
            write_atomic(self.path, text.getvalue())


class DataWait(Callback):
    """Measures how much of a training step is waiting for images."""

    def __init__(self) -> None:
        self.wait = self.work = 0.0
        self.batches = 0
        self.last = self.start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.last = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The images have come."""
        self.start = time.perf_counter()
        if self.last:
            self.wait += self.start - self.last

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The step is done."""
        self.last = time.perf_counter()
        self.work += self.last - self.start
        self.batches += 1

    @property
    def share(self) -> float:
        """Waiting's share of the time of the steps, in [0, 1]."""
        return self.wait / max(self.wait + self.work, 1e-9)
