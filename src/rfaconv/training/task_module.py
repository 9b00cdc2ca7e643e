"""What trainings of detectors and segmenters have in common: losses, history, optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from rfaconv.training.module import TrainingDiverged
from rfaconv.training.preemption import random_state, set_random_state
from rfaconv.training.running import optimizer_of
from rfaconv.training.seeds import derive, seed_all


@dataclass(frozen=True)
class TaskEpoch:
    """An epoch: number from 0, mean training loss, and the metric in [0, 1], None if not judged."""

    epoch: int
    train_loss: float
    score: float | None


class TaskModule(LightningModule):
    """A network with its losses, its optimizer and its history; the task adds steps and metric.

    Every epoch starts from a seed of its own, so a run that goes on from a checkpoint does what
    the run that never stopped does.

    Args:
        network: what is trained.
        steps: optimizer steps of the whole training.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        weight_decay: of all parameters.
        seed: of the augmentation.
    """

    score_name: ClassVar[str]

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        lr: float,
        optimizer: str,
        weight_decay: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.steps, self.seed = network, steps, seed
        self.settings = (optimizer, lr, weight_decay)
        self.history: list[TaskEpoch] = []
        self._sum, self._count = 0.0, 0
        self.within = 0
        """Batches of the current epoch that a checkpoint in its middle has; 0 at its end."""
        self.rest: dict[str, Any] | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and published."""
        return self.network

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean training loss of every epoch."""
        return tuple(record.train_loss for record in self.history)

    def begin(self, batch_idx: int) -> None:
        """To be called with every training batch: the first one seeds the epoch.

        The first one after a save within the epoch finds all as it was.
        """
        if self.rest is not None:
            set_random_state(self.rest["random"])
            self._sum, self._count = self.rest["loss"], self.rest["batches"]
            self.rest, self.within = None, 0
        elif batch_idx == 0:
            seed_all(derive(self.seed, "epoch", self.current_epoch))
            self._sum, self._count = 0.0, 0

    def counted(self, losses: Sequence[Tensor]) -> Tensor:
        """Sum of the losses of a batch, which goes into the epoch's mean.

        Raises:
            TrainingDiverged: it is no number.
        """
        loss = torch.stack(list(losses)).sum()
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is not a number in epoch {self.current_epoch + 1}; "
                f"lower the learning rate (lr is {self.settings[1]})"
            )
        self._sum, self._count = self._sum + float(loss.detach()), self._count + 1
        return loss

    def score(self) -> float | None:
        """The metric over the validation pictures seen, which are then forgotten."""
        raise NotImplementedError

    def on_validation_epoch_end(self) -> None:
        """Closes the epoch's record, before the epoch is saved."""
        loss = self._sum / max(1, self._count)
        self.history.append(TaskEpoch(self.current_epoch, loss, self.score()))

    def configure_optimizers(self) -> Any:
        """Optimizer and one-cycle schedule."""
        name, lr, decay = self.settings
        return optimizer_of(self.network, name, lr, decay, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history goes along, and what the rest of an epoch depends on."""
        checkpoint["history"] = [asdict(record) for record in self.history]
        if self.within:
            checkpoint["within"] = self.within
            checkpoint["rest"] = {
                "loss": self._sum, "batches": self._count, "random": random_state()
            }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """All of that comes back."""
        self.history = [TaskEpoch(**record) for record in checkpoint["history"]]
        self.within, self.rest = checkpoint.get("within", 0), checkpoint.get("rest")
