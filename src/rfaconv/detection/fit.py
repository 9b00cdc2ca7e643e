"""Trains a detector with Lightning and judges it as COCO does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.data.global_batches import GlobalBatches
from rfaconv.detection.samples import DetectionSet
from rfaconv.training.running import run
from rfaconv.training.seeds import derive
from rfaconv.training.task_module import TaskModule


@dataclass(frozen=True)
class DetectionResult:
    """What a training came to, after its last epoch.

    Attributes:
        map: mean average precision over IoU thresholds 0.5 to 0.95, in [0, 1].
        map50: at IoU 0.5.
        per_class: ``map`` of every class; None for a class without a box.
        losses: mean training loss of every epoch.
        seconds: wall-clock time, validation included.
    """

    map: float
    map50: float
    per_class: tuple[float | None, ...]
    losses: tuple[float, ...]
    seconds: float


class Detector(TaskModule):
    """A detector of torchvision with its optimizer and its metric, mean average precision.

    Args:
        network: as of :func:`rfaconv.detection.build_detector`.
        steps: optimizer steps of the whole training.
        lr: highest learning rate.
        optimizer: ``sgd`` or ``adamw``.
        weight_decay: of all parameters.
        seed: of the augmentation.
        mirror: whether pictures are mirrored at random.
        judged_from: first epoch whose metric is computed.
    """

    score_name: ClassVar[str] = "mAP"

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        lr: float,
        optimizer: str = "adamw",
        weight_decay: float = 1e-4,
        seed: int = 0,
        *,
        mirror: bool = True,
        judged_from: int = 0,
    ) -> None:
        super().__init__(network, steps, lr, optimizer, weight_decay, seed)
        self.mirror, self.judged_from = mirror, judged_from
        self.metric = MeanAveragePrecision(class_metrics=True)
        self.figures: dict[str, Any] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum of the detector's losses of one batch."""
        self.begin(batch_idx)
        images, targets = batch
        if self.mirror:
            pairs = [_mirror(i, t) if torch.rand(()) < 0.5 else (i, t) for i, t in zip(*batch)]  # noqa: B905
            images, targets = [p[0] for p in pairs], [p[1] for p in pairs]
        return self.counted(list(self.network(list(images), list(targets)).values()))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands what was found to the metric."""
        if self.current_epoch >= self.judged_from:
            images, targets = batch
            found = self.network(list(images))
            self.metric.update(found, [{k: t[k] for k in ("boxes", "labels")} for t in targets])

    def score(self) -> float | None:
        """Mean average precision over IoU thresholds 0.5 to 0.95."""
        if self.current_epoch < self.judged_from:
            return None
        self.figures = self.metric.compute()
        self.metric.reset()
        return float(self.figures["map"])


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
    loader, judged = loaders(train, val, batch_size, seed, workers)
    module = Detector(
        network, len(loader) * epochs, lr, optimizer, seed=seed, judged_from=epochs - 1
    )
    start = time.perf_counter()
    run(module, loader, judged, epochs, device=device, checkpoint=checkpoint)
    return DetectionResult(
        map=float(module.figures["map"]),
        map50=float(module.figures["map_50"]),
        per_class=of_classes(module.figures, len(val.classes)),
        losses=module.losses,
        seconds=time.perf_counter() - start,
    )


def loaders(
    train: DetectionSet, val: DetectionSet, batch_size: int, seed: int, workers: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches to train on, of the pictures with boxes, and to judge on."""
    kept = [sample for sample in train.samples if sample.boxes]
    shuffled = DetectionSet(kept, train.classes)
    return DataLoader(
        shuffled,
        batch_sampler=GlobalBatches(len(shuffled), batch_size, derive(seed, "order")),
        collate_fn=_columns,
        num_workers=workers,
    ), DataLoader(val, batch_size=batch_size, collate_fn=_columns, num_workers=workers)


def of_classes(figures: dict[str, Any], count: int) -> tuple[float | None, ...]:
    """Average precision of every class from torchmetrics' figures; None where there is no box."""
    labels, values = (figures[k].reshape(-1).tolist() for k in ("classes", "map_per_class"))
    found = {label: value for label, value in zip(labels, values, strict=False) if value >= 0}
    return tuple(found.get(index + 1) for index in range(count))


def _columns(batch: Any) -> Any:
    return tuple(zip(*batch, strict=True))


def _mirror(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    boxes = target["boxes"]
    left = image.shape[-1] - boxes[:, 2]
    right = image.shape[-1] - boxes[:, 0]
    turned = torch.stack([left, boxes[:, 1], right, boxes[:, 3]], dim=1)
    return image.flip(-1), {**target, "boxes": turned}
