"""The classifier of a recipe: that of comparisons, for many processes, with averaged weights."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rfaconv.data import ImageData
from rfaconv.recipes import Recipe
from rfaconv.training.build import recipe_schedule
from rfaconv.training.module import Classifier
from rfaconv.training.preemption import of_all_processes, random_state, set_random_state
from rfaconv.training.seeds import derive, seed_all


class RecipeModule(Classifier):
    """:class:`Classifier` with what a recipe adds: averaged weights, no augmentation, processes.

    Args:
        network: images to logits.
        data: the images.
        recipe: everything else.
        steps: optimizer steps in the whole run.
    """

    def __init__(self, network: nn.Module, data: ImageData, recipe: Recipe, steps: int) -> None:
        super().__init__(network, data, recipe_schedule(recipe), steps, recipe.seed)
        if recipe.data.augment != "shift":
            self.augment = nn.Sequential()
        self.accumulate, self.channels_last = recipe.accumulate, recipe.channels_last
        # DDP copies the first process's buffers to all others before every step: not the sums
        self._ddp_params_and_buffers_to_ignore = ["train_loss_sum", "val_loss_sum"]
        self.within = 0
        """Batches of the current epoch that a checkpoint in its middle has; 0 at its end."""
        self.rest: dict[str, Any] | None = None
        self.average: AveragedModel | None = None
        if recipe.ema is not None:
            self.average = AveragedModel(
                network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and published: the average if there is one."""
        return self.model if self.average is None else self.average.module

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of uint8 images (B, C, H, W)."""
        x = self.normalize(images)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = (self.model if self.training else self.evaluated)(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; the first one after a save within the epoch finds all as it was."""
        if self.rest is not None:
            if self.rest["random"] is not None:
                set_random_state(self.rest["random"])
            else:
                seed_all(
                    derive(self.seed, "batch", self.current_epoch, batch_idx, self.global_rank)
                )
            self.train_loss_sum.fill_(self.rest["loss"])
            self.train_images = self.rest["images"]
            self.rest, self.within = None, 0
        return super().training_step(batch, batch_idx)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the average moves."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the rest of an epoch depends on, of every process."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["val_images"] = self.val_images
        if self.within:
            checkpoint["within"] = self.within
            checkpoint["processes"] = of_all_processes(
                {"loss": self.train_loss_sum.item(), "images": self.train_images,
                 "random": random_state()}
            )  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it out again; on another number of processes the random numbers are others."""
        super().on_load_checkpoint(checkpoint)
        # a run that was stopped behind its last epoch validates no more
        self.val_images = checkpoint["val_images"]
        self.within = checkpoint.get("within", 0)
        if not self.within:
            return
        parts = checkpoint["processes"]
        if len(parts) == self.trainer.world_size:
            self.rest = parts[self.global_rank]
        else:
            first = self.global_rank == 0
            total = {k: sum(part[k] for part in parts) if first else 0 for k in ("loss", "images")}
            self.rest = {**total, "random": None}

    def on_validation_epoch_end(self) -> None:
        """Adds up the sums of all processes and closes the epoch's record."""
        if self.trainer.world_size > 1:
            counts = torch.tensor(
                [float(self.train_images), float(self.val_images)], device=self.device
            )
            sums = torch.stack([self.train_loss_sum, self.val_loss_sum, *counts])
            total = self.trainer.strategy.reduce(sums, reduce_op="sum")
            self.train_loss_sum.copy_(total[0])
            self.val_loss_sum.copy_(total[1])
            self.train_images, self.val_images = int(total[2]), int(total[3])
        super().on_validation_epoch_end()
        if self.trainer.loggers:
            record = self.history[-1]
            self.log_dict({k: v for k, v in asdict(record).items() if k != "epoch"},
                          rank_zero_only=True)  # fmt: skip


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
