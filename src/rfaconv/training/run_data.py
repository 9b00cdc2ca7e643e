"""The loaders of a run; made inside the process that reads them, which knows its number."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from rfaconv.data import ImageData
from rfaconv.data.global_batches import GlobalBatches
from rfaconv.data.loaders import _as_is
from rfaconv.data.shards import ShardImages
from rfaconv.data.streams import ShardBatches
from rfaconv.recipes import Recipe
from rfaconv.training.recipe_module import RecipeModule
from rfaconv.training.seeds import derive

VAL_BATCH = 256


class RunData(LightningDataModule):
    """This process's share of the images of a recipe."""

    def __init__(self, data: ImageData, recipe: Recipe) -> None:
        super().__init__()
        self.data, self.recipe = data, recipe
        self.stream: ShardBatches | None = None

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's share of every step, from where the epoch was left."""
        assert self.trainer is not None
        recipe, module = self.recipe, self.trainer.lightning_module
        assert isinstance(module, RecipeModule)
        rank, world = self.trainer.global_rank, self.trainer.world_size
        # loader processes fetch ahead, before Lightning tells the sampler its epoch
        epoch, done = self.trainer.current_epoch, module.within
        seed, size = derive(recipe.seed, "order"), recipe.batch_size
        # of the seeds of loader processes: a function of the epoch alone, for resuming
        generator = torch.Generator().manual_seed(derive(recipe.seed, "workers", epoch))
        options: dict[str, Any] = {"num_workers": recipe.data.workers, "generator": generator}
        images = self.data.train
        if isinstance(images, ShardImages):
            steps = len(images) // size
            self.stream = ShardBatches(
                images, size // (world * recipe.accumulate), steps * recipe.accumulate, seed,
                rank, world, recipe.data.workers,
            )  # fmt: skip
            self.stream.go_on(epoch, done)
            return DataLoader(self.stream, batch_size=None, **options)
        batches = GlobalBatches(len(images), size, seed, rank, world, recipe.accumulate)
        batches.go_on(epoch, done)
        return DataLoader(
            images,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=_as_is,
            **options,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the validation images, each once."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        images, workers = self.data.val, self.recipe.data.workers
        if isinstance(images, ShardImages):
            stream = ShardBatches(images, VAL_BATCH, rank=rank, world=world)
            return DataLoader(stream, batch_size=None, num_workers=workers)
        return DataLoader(
            images,  # type: ignore[arg-type]
            sampler=list(range(rank, len(images), world)),
            batch_size=VAL_BATCH,
            collate_fn=_as_is,
            num_workers=workers,
        )


class StreamEpoch(Callback):
    """Tells shards their epoch, as Lightning tells samplers."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the epoch's first batch is asked for."""
        stream = getattr(trainer, "datamodule").stream  # noqa: B009  # set by fit, undeclared
        if stream is not None:
            stream.epoch = trainer.current_epoch
