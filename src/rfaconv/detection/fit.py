"""Trains a detector with Lightning and judges it as COCO does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.data import EpochShuffle
from rfaconv.detection.samples import DetectionSet
from rfaconv.errors import RFAConvError
from rfaconv.training.running import optimizer_of, run
from rfaconv.training.seeds import derive, seed_all


@dataclass(frozen=True)
class DetectionResult:
    """What a training came to, after its last epoch.

    Attributes:
        map: mean average precision over IoU thresholds 0.5 to 0.95, in [0, 1].
        map50: at IoU 0.5.
        per_class: ``map`` of every class; NaN is None.
        losses: mean training loss of every epoch.
        seconds: wall-clock time, validation included.
    """

    map: float
    map50: float
    per_class: tuple[float | None, ...]
    losses: tuple[float, ...]
    seconds: float


class Detector(LightningModule):
    """A detector of torchvision with its optimizer and its metric.

    Args:
        network: as of :func:`rfaconv.detection.build_detector`.
        steps: optimizer steps of the whole training.
        epochs: passes; the metric is computed after the last.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        weight_decay: of all parameters.
        mirror: whether pictures are mirrored at random.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        epochs: int,
        lr: float,
        optimizer: str = "adamw",
        weight_decay: float = 1e-4,
        mirror: bool = True,
    ) -> None:
        super().__init__()
        self.network = network
        self.steps, self.epochs = steps, epochs
        self.settings = (optimizer, lr, weight_decay)
        self.mirror = mirror
        self.metric = MeanAveragePrecision(class_metrics=True)
        self.losses: list[float] = []
        self.figures: dict[str, Any] = {}
        self._sum, self._count = 0.0, 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum of the detector's losses of one batch."""
        images, targets = batch
        if self.mirror:
            pairs = [_mirror(i, t) if torch.rand(()) < 0.5 else (i, t) for i, t in zip(*batch)]  # noqa: B905
            images, targets = [p[0] for p in pairs], [p[1] for p in pairs]
        losses = self.network(list(images), list(targets))
        loss: Tensor = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise RFAConvError("the loss is no longer a number: train with a smaller learning rate")
        self._sum, self._count = self._sum + float(loss.detach()), self._count + 1
        return loss

    def on_validation_epoch_start(self) -> None:
        """Takes the mean training loss down, before the epoch is saved."""
        self.losses.append(self._sum / max(1, self._count))
        self._sum, self._count = 0.0, 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands what was found to the metric, in the last epoch."""
        if self.current_epoch < self.epochs - 1:
            return
        images, targets = batch
        found = self.network(list(images))
        self.metric.update(found, [{k: t[k] for k in ("boxes", "labels")} for t in targets])

    def on_validation_epoch_end(self) -> None:
        """Computes the metric, in the last epoch."""
        if self.current_epoch >= self.epochs - 1:
            self.figures = self.metric.compute()
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


def fit_detector(
    network: nn.Module,
    train: DetectionSet,
    val: DetectionSet,
    *,
    epochs: int,
    batch_size: int = 8,
    lr: float = 1e-3,
    optimizer: str = "adamw",
    seed: int = 0,
    workers: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
) -> DetectionResult:
    """Trains ``network`` in place and judges it after the last epoch.

    Args:
        network: as of :func:`rfaconv.detection.build_detector`; already initialised.
        train: pictures to learn from; those without a box are left out.
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
    kept = [sample for sample in train.samples if sample.boxes]
    shuffled = DetectionSet(kept, train.classes)
    loader: DataLoader[Any] = DataLoader(
        shuffled,
        batch_size=min(batch_size, len(shuffled)),
        sampler=EpochShuffle(len(shuffled), derive(seed, "order")),
        drop_last=True,
        collate_fn=_columns,
        num_workers=workers,
    )
    judged: DataLoader[Any] = DataLoader(
        val, batch_size=batch_size, collate_fn=_columns, num_workers=workers
    )
    module = Detector(network, len(loader) * epochs, epochs, lr, optimizer)
    seed_all(derive(seed, "augmentation"))
    start = time.perf_counter()
    run(module, loader, judged, epochs, device=device, checkpoint=checkpoint)
    figures = module.figures
    of_class = dict(
        zip(
            figures["classes"].reshape(-1).tolist(),
            figures["map_per_class"].reshape(-1).tolist(),
            strict=False,
        )
    )
    return DetectionResult(
        map=float(figures["map"]),
        map50=float(figures["map_50"]),
        per_class=tuple(of_class.get(i + 1) for i in range(len(val.classes))),
        losses=tuple(module.losses),
        seconds=time.perf_counter() - start,
    )


def _columns(batch: Any) -> Any:
    return tuple(zip(*batch, strict=True))


def _mirror(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    boxes = target["boxes"]
    left = image.shape[-1] - boxes[:, 2]
    right = image.shape[-1] - boxes[:, 0]
    turned = torch.stack([left, boxes[:, 1], right, boxes[:, 3]], dim=1)
    return image.flip(-1), {**target, "boxes": turned}
