"""What Lightning trains, whatever the task: losses, schedule, averaged weights, history."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rfaconv.errors import RFAConvError
from rfaconv.lab.recipes import LightningRecipe
from rfaconv.lab.seeds import derive, seed_all
from rfaconv.lab.training.preemption import of_all_processes, random_state, set_random_state
from rfaconv.lab.training.schedules import rate_factor, recipe_optimizer, timm_schedule


class TrainingDiverged(RFAConvError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to.

    Attributes:
        epoch: its number, from 0.
        steps: optimizer steps from the beginning of the training.
        train_loss: mean over the training images.
        val_loss: mean over the validation images; None where the task has none.
        score: of the validation images, in [0, 1].
    """

    epoch: int
    steps: int
    train_loss: float
    val_loss: float | None
    score: float

    def named(self, score_name: str) -> dict[str, Any]:
        """As plain values, the score under its own name.

        Example:
            >>> EpochRecord(0, 8, 1.5, None, 0.25).named("miou")
            {'epoch': 0, 'steps': 8, 'train_loss': 1.5, 'val_loss': None, 'miou': 0.25}
        """
        values = asdict(self)
        return {**{k: v for k, v in values.items() if k != "score"}, score_name: self.score}


class TrainingModule(LightningModule):
    """A network with its loss, its score and all that training it needs; a task adds the first two.

    Every epoch starts from a seed of its own, so a run that goes on from a checkpoint of epoch e
    does what the run that never stopped does.

    Args:
        network: what is trained.
        recipe: of what task ever.
        steps: optimizer steps of the whole training.
    """

    train_loss_sum: Tensor
    val_loss_sum: Tensor
    score_name: ClassVar[str]

    def __init__(self, network: nn.Module, recipe: LightningRecipe, steps: int) -> None:
        super().__init__()
        self.network, self.recipe, self.steps = network, recipe, steps
        self.history: list[EpochRecord] = []
        self.train_images = self.val_images = 0
        self.register_buffer("train_loss_sum", torch.zeros(()), persistent=False)
        self.register_buffer("val_loss_sum", torch.zeros(()), persistent=False)
        # DDP copies the first process's buffers to all others before every step: not the sums
        self._ddp_params_and_buffers_to_ignore = ["train_loss_sum", "val_loss_sum"]
        self.batches_done = 0
        """Batches of the current epoch that a checkpoint in its middle has; 0 at its end."""
        self.resume_state: dict[str, Any] | None = None
        self.average: AveragedModel | None = None
        if recipe.ema is not None:
            self.average = AveragedModel(
                network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and published: the average if there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def current(self) -> nn.Module:
        """The network that is trained, or in validation the one that is validated."""
        return self.network if self.training else self.evaluated

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Mean loss of a training batch, and its number of images."""
        raise NotImplementedError

    def score(self) -> float:
        """The score of the validation images seen, which are then forgotten."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of one batch; the first one makes the epoch a function of (seed, epoch)."""
        self._begin(batch_idx)
        loss, images = self.loss(batch)
        self.train_loss_sum += loss.detach() * images
        self.train_images += images
        return loss

    def _begin(self, batch_idx: int) -> None:
        """Not in on_train_epoch_start, which Lightning leaves out where a run goes on."""
        seed, epoch, rank = self.recipe.seed, self.current_epoch, self.global_rank
        if self.resume_state is not None:
            # the first batch after a save within the epoch finds all as it was
            if self.resume_state["random"] is not None:
                set_random_state(self.resume_state["random"])
            else:
                seed_all(derive(seed, "batch", epoch, batch_idx, rank))
            self.train_loss_sum.fill_(self.resume_state["loss"])
            self.train_images = self.resume_state["images"]
            self.resume_state, self.batches_done = None, 0
        elif batch_idx == 0:
            seed_all(derive(seed, "epoch", epoch, *(("rank", rank) if rank else ())))
            self.train_loss_sum.zero_()
            self.train_images = 0

    def on_validation_epoch_start(self) -> None:
        """Clears the sums."""
        self.val_loss_sum.zero_()
        self.val_images = 0

    def on_validation_epoch_end(self) -> None:
        """Adds up the sums of all processes and closes the epoch's record."""
        sums = torch.stack([self.train_loss_sum, self.val_loss_sum]).tolist()
        counts = [self.train_images, self.val_images]
        if self.trainer.world_size > 1:
            every = torch.tensor([*sums, *map(float, counts)], device=self.device)
            total = self.trainer.strategy.reduce(every, reduce_op="sum").tolist()
            sums, counts = total[:2], [int(count) for count in total[2:]]
        self.train_images, self.val_images = counts
        losses = [total / max(1, count) for total, count in zip(sums, counts, strict=True)]
        if not all(map(math.isfinite, losses)):
            raise self.diverged()
        has_loss = self.val_images > 0
        record = EpochRecord(
            self.current_epoch, self.global_step, losses[0], losses[1] if has_loss else None,
            self.score(),
        )  # fmt: skip
        self.history.append(record)
        if self.trainer.loggers:
            named = record.named(self.score_name)
            self.log_dict({k: v for k, v in named.items() if k != "epoch" and v is not None},
                          rank_zero_only=True)  # fmt: skip

    def diverged(self) -> TrainingDiverged:
        """The error of a loss that is no number."""
        return TrainingDiverged(
            f"the loss is not a number in epoch {self.current_epoch + 1}; "
            f"lower the learning rate (lr is {self.recipe.optimizer.lr})"
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and learning rate."""
        wanted = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = recipe_optimizer(wanted, self.recipe)
        whole = timm_schedule(optimizer, self.recipe)
        if whole is not None:
            schedule: Any = {"scheduler": whole, "interval": "epoch"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(self.recipe, step, self.steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Timm's schedules want to know the epoch, torch's do not."""
        if hasattr(scheduler, "step_update"):
            scheduler.step(self.current_epoch + 1)
        else:
            scheduler.step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the average moves."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the history and what the rest of an epoch depends on, of every process."""
        checkpoint["history"] = [asdict(record) for record in self.history]
        checkpoint["val_images"] = self.val_images
        if self.batches_done:
            checkpoint["batches_done"] = self.batches_done
            checkpoint["processes"] = of_all_processes(
                {"loss": self.train_loss_sum.item(), "images": self.train_images,
                 "random": random_state()}
            )  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it out again; on another number of processes the random numbers are others."""
        self.history = [EpochRecord(**record) for record in checkpoint["history"]]
        # a run that was stopped behind its last epoch validates no more
        self.val_images = checkpoint["val_images"]
        # "within" in checkpoints of earlier versions
        self.batches_done = checkpoint.get("batches_done", checkpoint.get("within", 0))
        if not self.batches_done:
            return
        parts = checkpoint["processes"]
        if len(parts) == self.trainer.world_size:
            self.resume_state = parts[self.global_rank]
        else:
            first = self.global_rank == 0
            total = {k: sum(part[k] for part in parts) if first else 0 for k in ("loss", "images")}
            self.resume_state = {**total, "random": None}
