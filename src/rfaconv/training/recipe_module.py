"""The classifier of a recipe: that of comparisons, for many processes, with averaged weights."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from rfaconv.data import ImageData
from rfaconv.data.global_batches import GlobalBatches
from rfaconv.data.loaders import _as_is
from rfaconv.recipes import Recipe
from rfaconv.training.build import recipe_schedule
from rfaconv.training.files import write_atomic
from rfaconv.training.module import Classifier
from rfaconv.training.seeds import derive

VAL_BATCH = 256


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

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Moves the average after every optimizer step."""
        if self.average is not None and (batch_idx + 1) % self.accumulate == 0:
            self.average.update_parameters(self.model)

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


class RunData(LightningDataModule):
    """The loaders of a run; made inside the process that reads them, which knows its number."""

    def __init__(self, data: ImageData, recipe: Recipe) -> None:
        super().__init__()
        self.data, self.recipe = data, recipe

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's share of every step."""
        assert self.trainer is not None
        recipe = self.recipe
        batches = GlobalBatches(
            len(self.data.train), recipe.batch_size, derive(recipe.seed, "order"),
            self.trainer.global_rank, self.trainer.world_size, recipe.accumulate,
        )  # fmt: skip
        # loader processes fetch ahead, before Lightning tells the sampler its epoch
        batches.sampler.set_epoch(self.trainer.current_epoch)
        return DataLoader(
            self.data.train,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=_as_is,
            num_workers=recipe.data.workers,
            # of the seeds of loader processes: a function of the epoch alone, for resuming
            generator=torch.Generator().manual_seed(
                derive(recipe.seed, "workers", self.trainer.current_epoch)
            ),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the validation images, each once."""
        assert self.trainer is not None
        mine = range(self.trainer.global_rank, len(self.data.val), self.trainer.world_size)
        return DataLoader(
            self.data.val,  # type: ignore[arg-type]
            sampler=list(mine),
            batch_size=VAL_BATCH,
            collate_fn=_as_is,
            num_workers=self.recipe.data.workers,
        )


class DataWait(Callback):
    """Measures how much of a training step is waiting for images."""

    def __init__(self) -> None:
        self.wait = self.work = 0.0
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

    @property
    def share(self) -> float:
        """Waiting's share of the time of the steps, in [0, 1]."""
        return self.wait / max(self.wait + self.work, 1e-9)


class Curve(Callback):
    """Keeps ``metrics.csv``: one line per epoch, rewritten whole."""

    def __init__(self, run: Path) -> None:
        self.path = run / "metrics.csv"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the history."""
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            text = io.StringIO()
            table = csv.DictWriter(text, list(asdict(pl_module.history[0])))
            table.writeheader()
            table.writerows(asdict(record) for record in pl_module.history)
            write_atomic(self.path, text.getvalue())
