"""The loaders of a run; made inside the process that reads them, which knows its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from rfaconv.lab.data.global_batches import GlobalBatches
from rfaconv.lab.data.shards import ShardImages
from rfaconv.lab.data.streams import ShardBatches
from rfaconv.lab.recipes import LightningRecipe
from rfaconv.lab.seeds import derive
from rfaconv.lab.training.module import TrainingModule


class RunData(LightningDataModule):
    """This process's share of the images of a recipe, whatever the task.

    Args:
        recipe: batch size, seed and processes that decode.
        train: images to learn from.
        val: images to judge on.
        collate: from a list of samples to a batch; None for torch's own.
        val_batch: images of a batch that is judged.
    """

    def __init__(
        self,
        recipe: LightningRecipe,
        train: Any,
        val: Any,
        collate: Callable[[Any], Any] | None = None,
        val_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.train, self.val, self.collate = recipe, train, val, collate
        self.val_batch = val_batch or recipe.batch_size
        self.stream: ShardBatches | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return max(1, len(self.train) // self.recipe.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's share of every step, from where the epoch was left."""
        recipe, trainer = self.recipe, self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        epoch = done = 0
        if trainer is not None:
            module = trainer.lightning_module
            assert isinstance(module, TrainingModule)
            # loader processes fetch ahead, before Lightning tells the sampler its epoch
            epoch, done = trainer.current_epoch, module.batches_done
        seed, size = derive(recipe.seed, "order"), recipe.batch_size
        # of the seeds of loader processes: a function of the epoch alone, for resuming
        generator = torch.Generator().manual_seed(derive(recipe.seed, "workers", epoch))
        options: dict[str, Any] = {"num_workers": recipe.data.workers, "generator": generator}
        if isinstance(self.train, ShardImages):
            steps = len(self.train) // size
            self.stream = ShardBatches(
                self.train, size // (world * recipe.accumulate), steps * recipe.accumulate, seed,
                rank, world, recipe.data.workers,
            )  # fmt: skip
            self.stream.resume(epoch, done)
            return DataLoader(self.stream, batch_size=None, **options)
        batches = GlobalBatches(len(self.train), size, seed, rank, world, recipe.accumulate)
        batches.resume(epoch, done)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=self.collate, **options)

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the validation images, each once."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        workers = self.recipe.data.workers
        if isinstance(self.val, ShardImages):
            stream = ShardBatches(self.val, self.val_batch, rank=rank, world=world)
            return DataLoader(stream, batch_size=None, num_workers=workers)
        return DataLoader(
            self.val,
            sampler=list(range(rank, len(self.val), world)),
            batch_size=self.val_batch,
            collate_fn=self.collate,
            num_workers=workers,
        )


class StreamEpoch(Callback):
    """Tells shards their epoch, as Lightning tells samplers."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the epoch's first batch is asked for."""
        stream = getattr(trainer, "datamodule").stream  # noqa: B009  # set by fit, undeclared
        if stream is not None:
            stream.epoch = trainer.current_epoch
