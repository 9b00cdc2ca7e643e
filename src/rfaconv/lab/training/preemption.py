"""A termination signal (SIGTERM): the run saves within the epoch, ends, and goes on bit for bit."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from rfaconv.errors import RFAConvError
from rfaconv.lab.training.saves import Saves


class Preempted(RFAConvError):
    """The run was told to end; what it had computed is saved."""


class Preemption(Callback):
    """Saves after the optimizer step in which a termination signal came, and ends the run.

    A signal that comes in the last step of an epoch or while validating waits for the end of the
    epoch, which is saved anyway. A second signal ends the process at once.

    Args:
        saves: what writes checkpoints; stands before this one among the callbacks.
        accumulate: batches in an optimizer step.
    """

    def __init__(self, saves: Saves, accumulate: int) -> None:
        self.saves, self.accumulate = saves, accumulate
        self.requested = False
        self.before: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signal while training, and only there: elsewhere nothing is worth saving."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.before = signal.getsignal(signal.SIGTERM)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, self.before)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the signal from Lightning, whose handler ends the epoch without a save."""
        if self.before is not None:
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGTERM, self.before)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and ends, if any process was told to."""
        last = batch_idx + 1 >= trainer.num_training_batches
        if (batch_idx + 1) % self.accumulate or last or not self._agreed(trainer):
            return
        self.saves.save_within(trainer, pl_module, batch_idx + 1)
        raise Preempted(f"saved in epoch {trainer.current_epoch + 1} after batch {batch_idx + 1}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends after what was saved at the end of the epoch."""
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0) and self._agreed(trainer):
            raise Preempted(f"saved after epoch {trainer.current_epoch + 1}")

    def _agreed(self, trainer: Trainer) -> bool:
        """Whether any process was told; all ask in the same step, so all save the same step."""
        if trainer.world_size == 1:
            return self.requested
        return bool(trainer.strategy.reduce_boolean_decision(self.requested, all=False))


def random_state() -> dict[str, Any]:
    """The state of every generator that training draws from, as plain values and tensors."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.array(keys, dtype=np.int64)), int(position),
                  int(has_gauss), float(cached)],
        "python": random.getstate(),
    }  # fmt: skip
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Puts back what :func:`random_state` returned."""
    kind, keys, position, has_gauss, cached = state["numpy"]
    torch.set_rng_state(state["torch"].cpu())
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu())


def of_all_processes(value: dict[str, Any]) -> list[dict[str, Any]]:
    """``value`` of every process, by rank."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
