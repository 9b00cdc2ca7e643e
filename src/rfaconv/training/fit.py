"""One training run through Lightning: quiet, repeatable, and going on where it was cut off."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from rfaconv.data import EpochShuffle, ImageData, train_loader, val_loader
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
    callbacks: list[Callback] = [_Report(on_epoch)] if on_epoch else []
    resume = checkpoint is not None and checkpoint.exists()
    if checkpoint is not None:
        callbacks.append(_Save(checkpoint, checkpoint_seconds))
    if checkpoint is not None and resume:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        assert isinstance(train.sampler, EpochShuffle)
        # Loader processes fetch ahead, before Lightning tells the sampler its epoch.
        train.sampler.set_epoch(len(saved["history"]))
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            max_epochs=schedule.epochs,
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            # CPU kernels repeat themselves for a fixed number of threads without being told to
            deterministic="warn" if device.type == "cuda" else None,
            callbacks=callbacks,
            default_root_dir=scratch,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        start = time.perf_counter()
        try:
            trainer.fit(
                module, train, val, ckpt_path=checkpoint if resume else None, weights_only=True
            )
        except SystemExit as error:
            # Lightning answers Ctrl-C by leaving the process; that is for the caller to decide
            if trainer.interrupted and error.code == 1:
                raise KeyboardInterrupt from error
            raise
        seconds = time.perf_counter() - start
    images = len(data.val)
    return FitResult(
        history=tuple(module.history),
        correct=round(module.history[-1].val_top1 * images),
        images=images,
        seconds=seconds,
    )


class _Report(Callback):
    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.on_epoch(pl_module.history[-1])


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's notices off the terminal: devices that exist, tips, products."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            _ignore_notices()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _ignore_notices() -> None:
    notices: tuple[tuple[str, Any], ...] = (
        (r".*does not have many workers.*", Warning),
        (r".*logg?(ing)? interval.*", Warning),
        (r".*GPU available but not used.*", Warning),
        (r".*Consider installing `?litmodels.*", Warning),
        (r".*LeafSpec.*", Warning),
        # every process logs sums that are already those of all
        (r".*sync_dist=True.*", Warning),
        # of 1x1 convolutions, whose strides say nothing
        (r"(?s).*Grad strides do not match.*", Warning),
        # the workers of shards read shards of their own
        (r".*IterableDataset. has `__len__`.*", Warning),
        # GlobalBatches starts where the epoch was left
        (r".*your dataloader is not resumable.*", Warning),
    )
    for message, category in notices:
        warnings.filterwarnings("ignore", message=message, category=category)
