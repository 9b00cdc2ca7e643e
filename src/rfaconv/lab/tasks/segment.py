"""Segmenters: a class for every pixel, judged by mean intersection over union."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from rfaconv.lab.tasks.base import LightningTask, TaskSets, folder_of, held_out, spread
from rfaconv.lab.tasks.predictors import save_run_predictor
from rfaconv.recipes import Segment
from rfaconv.segmentation import IGNORED, MaskSet, build_segmenter, read_masks, read_voc_masks
from rfaconv.segmentation.module import Segmenter
from rfaconv.segmentation.networks import scores, standardised
from rfaconv.surgery.structure import backbone_of
from rfaconv.training.run_data import RunData
from rfaconv.training.seeds import derive, seed_all

CALIBRATION, BLOCK = 64, 16


class SegmentTask(LightningTask):
    """Unet and DeepLabV3Plus of segmentation_models_pytorch on encoders of timm."""

    score: ClassVar[str] = "miou"

    def data(self, recipe: Segment) -> TaskSets:
        """Masks of folders or VOC."""
        part, root = recipe.data, folder_of(recipe)
        if part.val is None:
            return held_out(_read(recipe, root, part.train), part.split_seed)
        return TaskSets(_read(recipe, root, part.train), _read(recipe, root, part.val))

    def plain(self, recipe: Segment, data: TaskSets, fetch: bool = True) -> nn.Module:
        """The segmenter on the encoder as timm has it."""
        seed_all(derive(recipe.seed, "network"))
        model = recipe.model
        return build_segmenter(model.kind, model.backbone, len(data.classes), **_settings(recipe))

    def body(self, network: nn.Module) -> nn.Module:
        """The encoder."""
        return backbone_of(network)

    def calibration(self, network: nn.Module, recipe: Segment, data: TaskSets) -> list[Tensor]:
        """Training pictures as the encoder sees them."""
        images = [data.train[i][0] for i in spread(len(data.train), CALIBRATION)]
        return list(torch.split(standardised(torch.stack(images)), BLOCK))

    def module(self, network: nn.Module, recipe: Segment, data: TaskSets, steps: int) -> Segmenter:
        """Cross-entropy of every pixel."""
        return Segmenter(network, recipe, steps, data.train)

    def loading(self, recipe: Segment, data: TaskSets) -> RunData:
        """All pictures have one size."""
        return RunData(recipe, data.train, data.val)

    def example(self, recipe: Segment, data: TaskSets) -> Tensor:
        """The first picture that is judged."""
        return standardised(data.val[0][0][None])

    def judge(self, network: nn.Module, recipe: Segment, data: TaskSets) -> dict[str, Any]:
        """Intersection over union, of the mean and of the classes; part of the pixels right."""
        count = len(data.classes)
        overlap = MulticlassJaccardIndex(count, average="none", ignore_index=IGNORED)
        right = MulticlassAccuracy(count, average="micro", ignore_index=IGNORED)
        for images, masks in self.loading(recipe, data).val_dataloader():
            found = scores(network, images).argmax(1)
            overlap.update(found, masks)
            right.update(found, masks)
        per_class = overlap.compute().tolist()
        return {
            "miou": sum(per_class) / count,
            "pixel_accuracy": float(right.compute()),
            "per_class": per_class,
            "images": len(data.val),
        }

    def finish(self, out: Path, network: nn.Module, recipe: Segment, data: TaskSets) -> None:
        """The file for ``rfaconv predict``."""
        size = recipe.data.image_size
        scaled = {} if size is None else {"image_size": size}
        save_run_predictor(out, network, recipe, data.classes, **_settings(recipe), **scaled)


def _settings(recipe: Segment) -> dict[str, Any]:
    """What else the network is built with."""
    model = recipe.model
    stride = {} if model.output_stride is None else {"output_stride": model.output_stride}
    return {**stride, "width": model.width}


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
    found.size = data.image_size
    return found
