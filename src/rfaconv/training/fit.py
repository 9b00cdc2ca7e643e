"""One training run through Lightning: quiet, repeatable, and going on where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from rfaconv.data import EpochShuffle, ImageData, train_loader, val_loader
from rfaconv.training.callbacks import Report
from rfaconv.training.engine import run_trainer
from rfaconv.training.module import Classifier, EpochRecord, Schedule
from rfaconv.training.seeds import derive

VAL_BATCH = 256
OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class FitResult:
    """What a training run came to.

    Attributes:
        history: one record per epoch.
        correct: validation images classified right after the last epoch.
        images: validation images.
        seconds: wall-clock time of the training, validation included; of the part after the last
            interruption if there was one.
    """

    history: tuple[EpochRecord, ...]
    correct: int
    images: int
    seconds: float

    @property
    def top1(self) -> float:
        """Accuracy after the last epoch, in [0, 1]."""
        return self.correct / self.images


def fit(
    model: nn.Module,
    data: ImageData,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device | None = None,
    workers: int = 0,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Trains ``model`` in place and validates it after every epoch.

    Args:
        model: images (B, C, H, W) to logits (B, classes); already initialised.
        data: what to train on.
        schedule: epochs, batch size, optimizer.
        seed: of data order and augmentation; equal seeds give equal numbers on one machine.
        device: where to train; None is the CPU.
        workers: processes that decode images.
        checkpoint: file to save to and, if it exists, to go on from; None for neither.
        checkpoint_seconds: least time between two saves (at ends of epochs).
        on_epoch: called after every epoch.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
    """
    device = device or torch.device("cpu")
    train = train_loader(data.train, schedule.batch_size, derive(seed, "order"), workers)
    val = val_loader(data.val, VAL_BATCH, workers)
    module = Classifier(model, data, schedule, steps=len(train) * schedule.epochs, seed=seed)
    callbacks: list[Callback] = [Report(on_epoch)] if on_epoch else []
    resume = checkpoint is not None and checkpoint.exists()
    if checkpoint is not None:
        callbacks.append(_Save(checkpoint, checkpoint_seconds))
    if checkpoint is not None and resume:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        assert isinstance(train.sampler, EpochShuffle)
        # Loader processes fetch ahead, before Lightning tells the sampler its epoch.
        train.sampler.set_epoch(len(saved["history"]))
    start = time.perf_counter()
    run_trainer(
        module,
        (train, val),
        callbacks,
        checkpoint=checkpoint if resume else None,
        max_epochs=schedule.epochs,
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        # CPU kernels repeat themselves for a fixed number of threads without being told to
        deterministic="warn" if device.type == "cuda" else None,
    )
    seconds = time.perf_counter() - start
    images = len(data.val)
    return FitResult(
        history=tuple(module.history),
        correct=round(module.history[-1].val_top1 * images),
        images=images,
        seconds=seconds,
    )


class _Save(Callback):
    """Saves at the end of an epoch, under a temporary name first, not more often than asked."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self.seconds = seconds
        self.last = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if time.monotonic() - self.last < self.seconds:
            return
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        trainer.save_checkpoint(temporary)
        temporary.replace(self.path)
        self.last = time.monotonic()
