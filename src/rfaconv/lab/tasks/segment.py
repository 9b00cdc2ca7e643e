"""Segmenters: a class for every pixel, judged by mean intersection over union."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.masks import IGNORED, MaskSet, read_masks, read_voc_masks
from rfaconv.lab.networks.segmenters import build_segmenter, scores, standardised
from rfaconv.lab.recipes import Segment
from rfaconv.lab.tasks.base import BLOCK, BackboneTask, TaskSets, folder_of, held_out
from rfaconv.lab.training.run_data import RunData
from rfaconv.lab.training.segmenter import Segmenter, figures_of, overlap_of


class SegmentTask(BackboneTask):
    """Unet and DeepLabV3Plus of segmentation_models_pytorch on encoders of timm."""

    score: ClassVar[str] = "miou"

    def data(self, recipe: Segment) -> TaskSets:
        """Masks of folders or VOC."""
        part, root = recipe.data, folder_of(recipe)
        if part.val is None:
            return held_out(_read(recipe, root, part.train), part.split_seed)
        return TaskSets(_read(recipe, root, part.train), _read(recipe, root, part.val))

    def build(self, kind: str, backbone: str, classes: int, **settings: Any) -> nn.Module:
        """A segmenter of segmentation_models_pytorch."""
        return build_segmenter(kind, backbone, classes, **settings)

    def settings(self, recipe: Segment) -> dict[str, Any]:
        """The width, and the stride where the recipe has one."""
        model = recipe.model
        stride = {} if model.output_stride is None else {"output_stride": model.output_stride}
        return {**stride, "width": model.width}

    def calibration(self, network: nn.Module, recipe: Segment, data: TaskSets) -> list[Tensor]:
        """Training images as the encoder sees them."""
        images = torch.stack(self.calibration_images(data))
        return list(torch.split(standardised(images), BLOCK))

    def module(self, network: nn.Module, recipe: Segment, data: TaskSets, steps: int) -> Segmenter:
        """Cross-entropy of every pixel."""
        return Segmenter(network, recipe, steps, data.train)

    def loading(self, recipe: Segment, data: TaskSets) -> RunData:
        """All images have one size."""
        return RunData(recipe, data.train, data.val)

    def example(self, recipe: Segment, data: TaskSets) -> Tensor:
        """The first image that is judged."""
        return standardised(data.val[0][0][None])

    def judge(self, network: nn.Module, recipe: Segment, data: TaskSets) -> dict[str, Any]:
        """Intersection over union, of the mean and of the classes; part of the pixels right."""
        count = len(data.classes)
        overlap = overlap_of(count)
        right = MulticlassAccuracy(count, average="micro", ignore_index=IGNORED)
        for images, masks in self.loading(recipe, data).val_dataloader():
            found = scores(network, images).argmax(1)
            overlap.update(found, masks)
            right.update(found, masks)
        return {
            **figures_of(overlap, count),
            "pixel_accuracy": float(right.compute()),
            "images": len(data.val),
        }


def _read(recipe: Segment, root: Path, split: str) -> MaskSet:
    data = recipe.data
    if data.format == "voc":
        found = read_voc_masks(root, split, data.classes, strict=data.strict)
    else:
        beside = root / f"{split}annot"
        pictures, masks = (
            (root / split, beside)
            if beside.is_dir()
            else (root / "images" / split, root / "masks" / split)
        )
        found = read_masks(pictures, masks, data.classes, strict=data.strict)
    if data.image_size is None and len(found.sizes) > 1:
        (wide, high), (other_wide, other_high) = found.sizes[:2]
        got = f"none, with images of {wide} x {high} and of {other_wide} x {other_high}"
        raise InvalidArgument("data.image_size", "[height, width] to scale to", got)
    found.size = data.image_size
    return found
