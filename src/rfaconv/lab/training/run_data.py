"""The loaders of a run; made inside the process that reads them, which knows its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from rfaconv.lab.data.loaders import GlobalBatches
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
        batches = GlobalBatches(len(self.train), size, seed, rank, world, recipe.accumulate)
        batches.resume(epoch, done)
        return DataLoader(
            self.train,
            batch_sampler=batches,
            collate_fn=self.collate,
            num_workers=recipe.data.workers,
            generator=generator,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the validation images, each once."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(
            self.val,
            sampler=list(range(rank, len(self.val), world)),
            batch_size=self.val_batch,
            collate_fn=self.collate,
            num_workers=self.recipe.data.workers,
        )
