"""Runs Lightning modules that are no classifiers: quietly, and with saves that are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rfaconv.errors import InvalidArgument
from rfaconv.training.engine import run_trainer
from rfaconv.training.module import one_cycle

OPTIMIZERS = ("sgd", "adamw")
CLIP = 10.0
"""Largest norm of the gradient of a detector or a segmenter."""


def run(
    module: LightningModule,
    train: Any,
    val: Any,
    epochs: int,
    *,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Trains and validates; goes on from ``checkpoint`` if that exists, and saves every epoch.

    Args:
        module: what to train.
        train: loader of training batches.
        val: loader of validation batches.
        epochs: passes over the training pictures.
        device: None for the CPU.
        checkpoint: the file to save to and go on from; None for neither.
    """
    device = device or torch.device("cpu")
    callbacks: list[Callback] = [] if checkpoint is None else [_Save(checkpoint)]
    resume = checkpoint is not None and checkpoint.exists()
    run_trainer(
        module,
        (train, val),
        callbacks,
        checkpoint=checkpoint if resume else None,
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        gradient_clip_val=CLIP,
    )


def optimizer_of(
    module: Any, name: str, lr: float, weight_decay: float, steps: int
) -> tuple[list[Optimizer], list[dict[str, Any]]]:
    """Optimizer and one-cycle schedule in the form that Lightning takes.

    Raises:
        InvalidArgument: ``name`` is none of :data:`OPTIMIZERS`.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer: Optimizer
    if name == "sgd":
        optimizer = SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    elif name == "adamw":
        optimizer = AdamW(parameters, lr=lr, weight_decay=weight_decay)
    else:
        raise InvalidArgument("optimizer", f"one of {', '.join(OPTIMIZERS)}", repr(name))
    schedule = LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class _Save(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        trainer.save_checkpoint(temporary)
        temporary.replace(self.path)
