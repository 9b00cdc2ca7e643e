"""The classifier that Lightning trains: model, loss, optimizer, schedule and its own history."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from rfaconv.data import ImageData, Normalize, augmentation
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.training.seeds import derive, seed_all


class TrainingDiverged(RFAConvError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: SGD with Nesterov momentum, one cycle of the learning rate.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        lr: highest learning rate, reached after a quarter of the steps.
        weight_decay: of all parameters.
        momentum: of SGD.
        nesterov: whether momentum looks ahead.
        label_smoothing: of the cross-entropy in training.
        shape: of the learning rate: ``one-cycle``, ``steps``, ``cosine`` or ``constant``.
        milestones: epochs after which ``steps`` multiplies by ``gamma``.
        gamma: see ``milestones``.
        warmup_epochs: of a linear rise at the start (``one-cycle`` has its own).
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True
    label_smoothing: float = 0.0
    shape: str = "one-cycle"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, "1 or more", getattr(self, name))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InvalidArgument("lr", "a number above 0", self.lr)

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by after ``step`` of ``steps`` steps.

        Example:
            >>> Schedule(4, shape="steps", milestones=(2,)).factor(5, 8)
            0.1
        """
        if self.shape == "one-cycle":
            return one_cycle(step, steps)
        rise = self.warmup_epochs * steps / self.epochs
        if step < rise:
            return (step + 1) / (rise + 1)
        if self.shape == "steps":
            passed = sum(step * self.epochs >= epoch * steps for epoch in self.milestones)
            return self.gamma**passed
        if self.shape == "cosine":
            part = min(1.0, (step - rise) / max(1.0, steps - rise))
            return (1 + math.cos(math.pi * part)) / 2
        return 1.0


@dataclass(frozen=True)
class EpochRecord:
    """Mean losses of an epoch, and top-1 accuracy on the validation images in [0, 1]."""

    epoch: int
    train_loss: float
    val_loss: float
    val_top1: float

    @property
    def score(self) -> float:
        """By which checkpoints are compared."""
        return self.val_top1


WARM_UP = 0.25
FIRST = 0.04


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: a cosine up in the first quarter of the steps, then one down.

    Defined for any number of steps, one included (torch's OneCycleLR fails for few).

    Args:
        step: steps done, from 0.
        steps: steps in the whole run.

    Returns:
        A number above 0 and up to 1 for every step of the run.

    Example:
        >>> [round(one_cycle(step, 8), 2) for step in range(8)]
        [0.04, 0.52, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    rise = int(WARM_UP * steps)
    if step < rise:
        return FIRST + (1 - FIRST) * (1 - math.cos(math.pi * step / rise)) / 2
    part = min(1.0, (step - rise) / max(1, steps - rise))
    return (1 + math.cos(math.pi * part)) / 2


class Classifier(LightningModule):
    """Trains ``model`` on bytes: normalises, augments, cross-entropy, top-1 by torchmetrics.

    Every epoch starts from a seed of its own, so a run that goes on from a checkpoint of
    epoch e does what the run that never stopped does.

    Args:
        model: images (B, C, H, W), normalised, to logits (B, classes).
        data: channel statistics and class count are taken from it.
        schedule: optimizer and learning rate.
        steps: optimizer steps in the whole run.
        seed: of shuffles and augmentation.
    """

    train_loss_sum: Tensor
    val_loss_sum: Tensor
    score_name: ClassVar[str] = "top1"

    def __init__(
        self, model: nn.Module, data: ImageData, schedule: Schedule, steps: int, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.normalize = Normalize(data.mean, data.std)
        self.augment = augmentation(data.image_size, data.mirror)
        self.schedule = schedule
        self.steps = steps
        self.seed = seed
        self.top1 = MulticlassAccuracy(len(data.classes), average="micro", validate_args=False)
        self.history: list[EpochRecord] = []
        self.train_images = self.val_images = 0
        self.register_buffer("train_loss_sum", torch.zeros(()), persistent=False)
        self.register_buffer("val_loss_sum", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of uint8 images (B, C, H, W)."""
        logits: Tensor = self.model(self.normalize(images))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; the first one makes the epoch a function of (seed, epoch)."""
        if batch_idx == 0:
            # not in on_train_epoch_start, which Lightning leaves out in the first epoch of a run
            # that goes on from a checkpoint
            rank = ("rank", self.global_rank) if self.global_rank else ()
            seed_all(derive(self.seed, "epoch", self.current_epoch, *rank))
            self.train_loss_sum.zero_()
            self.train_images = 0
        images, labels = batch
        loss = F.cross_entropy(
            self(self.augment(images)), labels, label_smoothing=self.schedule.label_smoothing
        )
        self.train_loss_sum += loss.detach() * len(labels)
        self.train_images += len(labels)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Clears the sums."""
        self.top1.reset()
        self.val_loss_sum.zero_()
        self.val_images = 0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds one batch to accuracy and loss."""
        images, labels = batch
        logits = self(images)
        self.top1.update(logits, labels)
        self.val_loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        self.val_images += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Closes the epoch's record."""
        record = EpochRecord(
            epoch=self.current_epoch,
            train_loss=self.train_loss_sum.item() / max(1, self.train_images),
            val_loss=self.val_loss_sum.item() / max(1, self.val_images),
            val_top1=self.top1.compute().item(),
        )
        if not (math.isfinite(record.train_loss) and math.isfinite(record.val_loss)):
            raise TrainingDiverged(
                f"the loss is not a number in epoch {record.epoch + 1}; "
                f"lower the learning rate (lr is {self.schedule.lr})"
            )
        self.history.append(record)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD, one cycle."""
        plan = self.schedule
        optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=plan.lr,
            momentum=plan.momentum,
            nesterov=plan.nesterov and plan.momentum > 0,
            weight_decay=plan.weight_decay,
        )
        cycle = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: plan.factor(step, self.steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the history into the checkpoint."""
        checkpoint["history"] = [asdict(record) for record in self.history]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the history out of the checkpoint."""
        self.history = [EpochRecord(**record) for record in checkpoint["history"]]
