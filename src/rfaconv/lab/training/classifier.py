"""A classifier: bytes to logits, cross-entropy, top-1 accuracy."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from rfaconv.lab.data import ImageData, Normalize, augmentation
from rfaconv.lab.data.augment import PER_IMAGE, PerImage, mixed
from rfaconv.lab.recipes import Classify
from rfaconv.lab.training.class_weights import class_weights
from rfaconv.lab.training.module import TrainingModule

Batch = tuple[Tensor, Tensor]


class Classifier(TrainingModule):
    """Trains on bytes: normalises, augments, cross-entropy, top-1 by torchmetrics.

    Args:
        network: images (B, C, H, W), normalised, to logits (B, classes).
        recipe: of a classifier.
        steps: optimizer steps in the whole run.
        data: channel statistics and class count are taken from it.
    """

    score_name: ClassVar[str] = "top1"
    recipe: Classify
    weights: Tensor | None

    def __init__(self, network: nn.Module, recipe: Classify, steps: int, data: ImageData) -> None:
        super().__init__(network, recipe, steps)
        self.normalize = Normalize(data.mean, data.std)
        base, *added = recipe.data.augmentations
        shift = [augmentation(data.image_size, data.hflip)] if base == "shift" else []
        count = len(data.classes)
        self.augment = nn.Sequential(*shift, *(PerImage(n) for n in added if n in PER_IMAGE))
        self.mix = next((mixed(name, count) for name in added if name not in PER_IMAGE), None)
        weights = class_weights(recipe.class_weights, data.train, count)
        self.register_buffer("weights", weights, persistent=False)
        self.top1 = MulticlassAccuracy(len(data.classes), average="micro", validate_args=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of uint8 images (B, C, H, W)."""
        x = self.normalize(images)
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.current(x)
        return logits

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Cross-entropy of augmented images."""
        images, labels = batch
        images = self.augment(images)
        if self.mix is not None:
            images, labels = self.mix(images.float(), labels)
        loss = F.cross_entropy(
            self(images), labels, self.weights, label_smoothing=self.recipe.label_smoothing
        )
        return loss, len(labels)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds one batch to accuracy and loss."""
        images, labels = batch
        logits = self(images)
        self.top1.update(logits, labels)
        self.val_loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        self.val_images += len(labels)

    def score(self) -> float:
        """Part of the images whose class was found."""
        value = self.top1.compute().item()
        self.top1.reset()
        return value
