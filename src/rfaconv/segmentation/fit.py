"""Trains a segmentation network with Lightning and judges it by mean intersection over union."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassJaccardIndex

from rfaconv.data import EpochShuffle
from rfaconv.errors import RFAConvError
from rfaconv.segmentation.masks import IGNORED, MaskSet
from rfaconv.training.running import optimizer_of, run
from rfaconv.training.seeds import derive, seed_all

_MULTIPLE = 32


@dataclass(frozen=True)
class SegmentationResult:
    """What a training came to, after its last epoch.

    Attributes:
        miou: mean over classes of intersection over union, in [0, 1]; ignored pixels do not count.
        per_class: of every class.
        losses: mean training loss of every epoch.
        seconds: wall-clock time, validation included.
    """

    miou: float
    per_class: tuple[float, ...]
    losses: tuple[float, ...]
    seconds: float


class Segmenter(LightningModule):
    """A segmentation network with cross-entropy, its optimizer and its metric.

    Args:
        network: as of :func:`rfaconv.segmentation.build_segmenter`.
        classes: number of classes.
        steps: optimizer steps of the whole training.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        weight_decay: of all parameters.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        steps: int,
        lr: float,
        optimizer: str = "adamw",
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        self.network, self.steps = network, steps
        self.settings = (optimizer, lr, weight_decay)
        self.metric = MulticlassJaccardIndex(classes, average="none", ignore_index=IGNORED)
        self.losses: list[float] = []
        self.per_class: tuple[float, ...] = ()
        self._sum, self._count = 0.0, 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross-entropy of one batch, mirrored at random."""
        images, masks = batch
        if torch.rand(()) < 0.5:
            images, masks = images.flip(-1), masks.flip(-1)
        loss = F.cross_entropy(scores(self.network, images), masks, ignore_index=IGNORED)
        if not torch.isfinite(loss):
            raise RFAConvError("the loss is no longer a number: train with a smaller learning rate")
        self._sum, self._count = self._sum + float(loss.detach()), self._count + 1
        return loss

    def on_validation_epoch_start(self) -> None:
        """Takes the mean training loss down, before the epoch is saved."""
        self.losses.append(self._sum / max(1, self._count))
        self._sum, self._count = 0.0, 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands the classes to the metric."""
        images, masks = batch
        self.metric.update(scores(self.network, images).argmax(1), masks)

    def on_validation_epoch_end(self) -> None:
        """Computes the metric."""
        self.per_class = tuple(self.metric.compute().tolist())
        self.metric.reset()

    def configure_optimizers(self) -> Any:
        """Optimizer and one-cycle schedule."""
        name, lr, decay = self.settings
        return optimizer_of(self.network, name, lr, decay, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history goes along."""
        checkpoint["losses"] = list(self.losses)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history comes back."""
        self.losses = list(checkpoint["losses"])


def scores(network: nn.Module, images: Tensor) -> Tensor:
    """Scores (B, classes, H, W) for pictures of any size: padded for the network, then cut."""
    height, width = images.shape[-2:]
    result: Tensor = network(standardised(images))
    return result[..., :height, :width]


def standardised(images: Tensor) -> Tensor:
    """What the network itself sees of pictures in [0, 1]: about unit variance, sides of 32n."""
    height, width = images.shape[-2:]
    padding = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
    padded = F.pad(images, padding, mode="replicate") if any(padding) else images
    return padded * 4 - 2


def fit_segmenter(
    network: nn.Module,
    train: MaskSet,
    val: MaskSet,
    *,
    epochs: int,
    batch_size: int = 8,
    lr: float = 1e-3,
    optimizer: str = "adamw",
    seed: int = 0,
    workers: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
) -> SegmentationResult:
    """Trains ``network`` in place and judges it after every epoch.

    Args:
        network: as of :func:`rfaconv.segmentation.build_segmenter`; already initialised.
        train: pictures to learn from, all of one size.
        val: pictures to judge on.
        epochs: passes over ``train``.
        batch_size: pictures a step.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        seed: of order and mirroring.
        workers: processes that decode.
        device: None for the CPU.
        checkpoint: file to save to after every epoch and, if it exists, to go on from.

    Raises:
        InvalidArgument: an unknown optimizer.
    """
    loader: DataLoader[Any] = DataLoader(
        train,
        batch_size=min(batch_size, len(train)),
        sampler=EpochShuffle(len(train), derive(seed, "order")),
        drop_last=True,
        num_workers=workers,
    )
    judged: DataLoader[Any] = DataLoader(val, batch_size=batch_size, num_workers=workers)
    module = Segmenter(network, len(train.classes), len(loader) * epochs, lr, optimizer)
    seed_all(derive(seed, "augmentation"))
    start = time.perf_counter()
    run(module, loader, judged, epochs, device=device, checkpoint=checkpoint)
    return SegmentationResult(
        miou=sum(module.per_class) / len(module.per_class),
        per_class=module.per_class,
        losses=tuple(module.losses),
        seconds=time.perf_counter() - start,
    )
