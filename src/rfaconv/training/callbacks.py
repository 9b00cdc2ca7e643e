"""What happens at the end of every epoch, whatever is trained."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict
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
            table = csv.DictWriter(text, list(asdict(history[0])))
            table.writeheader()
            table.writerows(asdict(record) for record in history)
            write_atomic(self.path, text.getvalue())
