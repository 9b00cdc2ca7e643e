"""Trains a segmentation network with Lightning and judges it by mean intersection over union."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassJaccardIndex

from rfaconv.data.global_batches import GlobalBatches
from rfaconv.segmentation.masks import IGNORED, MaskSet
from rfaconv.segmentation.networks import scores
from rfaconv.training.running import run
from rfaconv.training.seeds import derive
from rfaconv.training.task_module import TaskModule


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


class Segmenter(TaskModule):
    """A segmentation network with cross-entropy, its optimizer and its metric.

    Args:
        network: as of :func:`rfaconv.segmentation.build_segmenter`.
        classes: number of classes.
        steps: optimizer steps of the whole training.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        weight_decay: of all parameters.
        seed: of the augmentation.
    """

    score_name: ClassVar[str] = "mIoU"

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        steps: int,
        lr: float,
        optimizer: str = "adamw",
        weight_decay: float = 1e-4,
        seed: int = 0,
    ) -> None:
        super().__init__(network, steps, lr, optimizer, weight_decay, seed)
        self.metric = MulticlassJaccardIndex(classes, average="none", ignore_index=IGNORED)
        self.per_class: tuple[float, ...] = ()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross-entropy of one batch, mirrored at random."""
        self.begin(batch_idx)
        images, masks = batch
        if torch.rand(()) < 0.5:
            images, masks = images.flip(-1), masks.flip(-1)
        found = scores(self.network, images)
        return self.counted([F.cross_entropy(found, masks, ignore_index=IGNORED)])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands the classes to the metric."""
        images, masks = batch
        self.metric.update(scores(self.network, images).argmax(1), masks)

    def score(self) -> float:
        """Mean over classes of intersection over union."""
        self.per_class = tuple(self.metric.compute().tolist())
        self.metric.reset()
        return sum(self.per_class) / len(self.per_class)


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
    loader, judged = loaders(train, val, batch_size, seed, workers)
    module = Segmenter(network, len(train.classes), len(loader) * epochs, lr, optimizer, seed=seed)
    start = time.perf_counter()
    run(module, loader, judged, epochs, device=device, checkpoint=checkpoint)
    return SegmentationResult(
        miou=sum(module.per_class) / len(module.per_class),
        per_class=module.per_class,
        losses=module.losses,
        seconds=time.perf_counter() - start,
    )


def loaders(
    train: MaskSet, val: MaskSet, batch_size: int, seed: int, workers: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches to train on and to judge on."""
    return DataLoader(
        train,
        batch_sampler=GlobalBatches(len(train), batch_size, derive(seed, "order")),
        num_workers=workers,
    ), DataLoader(val, batch_size=batch_size, num_workers=workers)
