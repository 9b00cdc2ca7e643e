"""A detector: its own losses, mean average precision."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.lab.data.scenes import change_boxes
from rfaconv.lab.recipes import Detect
from rfaconv.lab.training.module import TrainingModule

SIZES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


class Detector(TrainingModule):
    """A detector of torchvision with mean average precision; images change as the recipe says.

    Args:
        network: as of :func:`rfaconv.lab.networks.detectors.build_detector`.
        recipe: of a detector.
        steps: optimizer steps of the whole training.
    """

    score_name: ClassVar[str] = "map"

    def __init__(self, network: nn.Module, recipe: Detect, steps: int) -> None:
        super().__init__(network, recipe, steps)
        self.metric = MeanAveragePrecision(class_metrics=True)

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Sum of the detector's losses.

        Raises:
            TrainingDiverged: it is no number; what such a network finds has no form.
        """
        images, targets = batch
        base, *added = self.recipe.data.augmentations
        pairs = list(zip(images, targets, strict=True))
        if base == "hflip":
            pairs = [hflip(*pair) if torch.rand(()) < 0.5 else pair for pair in pairs]
        if added:
            pairs = [change_boxes(*pair, added) for pair in pairs]
        found = self.network([image for image, _ in pairs], [target for _, target in pairs])
        loss = torch.stack(list(found.values())).sum()
        if not torch.isfinite(loss):
            raise self.diverged()
        return loss, len(images)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands what was found to the metric."""
        images, targets = batch
        found = self.current(list(images))
        self.metric.update(found, [{k: t[k] for k in ("boxes", "labels")} for t in targets])

    def score(self) -> float:
        """Mean average precision over IoU thresholds 0.5 to 0.95; 0 where there is no box."""
        value = float(self.metric.compute()["map"])
        self.metric.reset()
        return max(0.0, value)


def figures_of(metric: MeanAveragePrecision, count: int) -> dict[str, Any]:
    """Average precision as COCO counts, of sizes and of ``count`` classes; None without a box."""
    figures = metric.compute()
    # torchmetrics has -1 for what has no box
    sizes = {key: float(figures[key]) for key in SIZES}
    labels, values = (figures[k].reshape(-1).tolist() for k in ("classes", "map_per_class"))
    found = {label: value for label, value in zip(labels, values, strict=False) if value >= 0}
    return {
        **{key: value if value >= 0 else None for key, value in sizes.items()},
        "per_class": [found.get(index + 1) for index in range(count)],
    }


def columns(batch: Any) -> Any:
    """Images and targets of a batch, each a tuple."""
    return tuple(zip(*batch, strict=True))


def hflip(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """An image and its boxes, mirrored."""
    boxes = target["boxes"]
    left = image.shape[-1] - boxes[:, 2]
    right = image.shape[-1] - boxes[:, 0]
    turned = torch.stack([left, boxes[:, 1], right, boxes[:, 3]], dim=1)
    return image.flip(-1), {**target, "boxes": turned}
