"""A segmenter: cross-entropy of every pixel, mean intersection over union."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex

from rfaconv.lab.data.masks import IGNORED, MaskSet
from rfaconv.lab.data.scenes import change_masks
from rfaconv.lab.networks.segmenters import scores
from rfaconv.lab.recipes import Segment
from rfaconv.lab.training.class_weights import class_weights
from rfaconv.lab.training.module import TrainingModule


class Segmenter(TrainingModule):
    """A segmentation network with cross-entropy and its metric; images change by the recipe.

    Args:
        network: as of :func:`rfaconv.lab.networks.segmenters.build_segmenter`.
        recipe: of a segmenter.
        steps: optimizer steps of the whole training.
        train: what class weights are counted in.
    """

    weights: Tensor | None
    score_name: ClassVar[str] = "miou"
    recipe: Segment

    def __init__(
        self, network: nn.Module, recipe: Segment, steps: int, train: MaskSet | None = None
    ) -> None:
        super().__init__(network, recipe, steps)
        count = len(recipe.data.classes)
        weights = class_weights(recipe.class_weights, train, count)
        self.register_buffer("weights", weights, persistent=False)
        self.metric = overlap_of(count)

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Cross-entropy of one batch, changed at random."""
        images, masks = batch
        base, *added = self.recipe.data.augmentations
        if base == "hflip" and torch.rand(()) < 0.5:
            images, masks = images.flip(-1), masks.flip(-1)
        if added:
            images, masks = change_masks(images, masks, added, IGNORED)
        found, smoothing = scores(self.network, images), self.recipe.label_smoothing
        loss = F.cross_entropy(
            found, masks, self.weights, ignore_index=IGNORED, label_smoothing=smoothing
        )
        if not torch.isfinite(loss):
            raise self.diverged()
        return loss, len(images)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hands the classes to the metric."""
        images, masks = batch
        self.metric.update(scores(self.current, images).argmax(1), masks)

    def score(self) -> float:
        """Mean over classes of intersection over union."""
        value: float = figures_of(self.metric, len(self.recipe.data.classes))["miou"]
        self.metric.reset()
        return value


def overlap_of(classes: int) -> MulticlassJaccardIndex:
    """Intersection over union of every class; NaN for one that neither occurs nor is found."""
    nan = float("nan")
    return MulticlassJaccardIndex(classes, average="none", ignore_index=IGNORED, zero_division=nan)


def figures_of(overlap: MulticlassJaccardIndex, count: int) -> dict[str, Any]:
    """``per_class`` of the first ``count`` classes, None for one that does not occur; ``miou``."""
    values = overlap.compute()[:count]
    return {
        "miou": values.nanmean().nan_to_num().item(),
        "per_class": [None if value != value else value for value in values.tolist()],
    }
