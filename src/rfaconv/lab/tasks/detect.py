"""Detectors of torchvision: boxes, judged by mean average precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DetectionSet, check_labelled
from rfaconv.lab.data.coco import read_coco
from rfaconv.lab.data.voc import read_voc
from rfaconv.lab.data.yolo.reading import read_yolo
from rfaconv.lab.networks.detectors import build_detector
from rfaconv.lab.recipes import Detect
from rfaconv.lab.tasks.base import BLOCK, BackboneTask, TaskSets, folder_of, held_out
from rfaconv.lab.training.detector import Detector, columns, figures_of
from rfaconv.lab.training.run_data import RunData


class DetectTask(BackboneTask):
    """FCOS, RetinaNet and Faster R-CNN on backbones of timm."""

    score: ClassVar[str] = "map"

    def data(self, recipe: Detect) -> TaskSets:
        """Boxes of VOC, COCO or YOLO."""
        part, root = recipe.data, folder_of(recipe)
        train = _read(recipe, root, part.train)
        check_labelled(train)
        if part.val is None:
            parts = held_out(train, part.split_seed)
            check_labelled(parts.val, "to judge on (data.split_seed chooses them)")
            return parts
        val = _read(recipe, root, part.val, train.classes)
        check_labelled(val, "to judge on")
        if train.classes != val.classes:
            expected = "the classes of the training pictures in data.val"
            raise InvalidArgument("data", expected, ", ".join(val.classes))
        return TaskSets(train, val)

    def build(self, kind: str, backbone: str, classes: int, **settings: Any) -> nn.Module:
        """A detector of torchvision."""
        return build_detector(kind, backbone, classes, **settings)

    def settings(self, recipe: Detect) -> dict[str, Any]:
        """The keys of the recipe that are not None."""
        model = recipe.model
        chosen = {"size": model.size, "channels": model.channels, "width": model.width}
        return {key: value for key, value in chosen.items() if value is not None}

    def calibration(self, network: Any, recipe: Detect, data: TaskSets) -> list[Tensor]:
        """Images of several sizes are filled up to the largest of their block, as in training."""
        images = self.calibration_images(data)
        return [
            network.transform(images[i : i + BLOCK])[0].tensors
            for i in range(0, len(images), BLOCK)
        ]

    def module(self, network: nn.Module, recipe: Detect, data: TaskSets, steps: int) -> Detector:
        """The detector's own losses."""
        return Detector(network, recipe, steps)

    def loading(self, recipe: Detect, data: TaskSets) -> RunData:
        """Images without a box are left out of training."""
        kept = [sample for sample in data.train.samples if sample.boxes]
        return RunData(recipe, DetectionSet(kept, data.classes), data.val, columns)

    def example(self, recipe: Detect, data: TaskSets) -> list[Tensor]:
        """The first image that is judged."""
        return [data.val[0][0]]

    def judge(self, network: nn.Module, recipe: Detect, data: TaskSets) -> dict[str, Any]:
        """Average precision as COCO counts, of sizes and classes; None where there is no box."""
        metric = MeanAveragePrecision(class_metrics=True)
        for images, targets in self.loading(recipe, data).val_dataloader():
            found = network(list(images))
            metric.update(found, [{k: t[k] for k in ("boxes", "labels")} for t in targets])
        return {**figures_of(metric, len(data.classes)), "images": len(data.val)}


def _read(
    recipe: Detect, root: Path, split: str, classes: tuple[str, ...] | None = None
) -> DetectionSet:
    data = recipe.data
    if data.format == "yolo":
        return read_yolo(root, split, strict=data.strict)
    if data.format == "coco":
        annotations = root / "annotations" / f"instances_{split}.json"
        beside = root / split / "_annotations.coco.json"
        if not annotations.is_file() and beside.is_file():
            annotations = beside
        # where it is not called as the split is, all images lie in one folder
        folder = next((p for p in (root / split, root / "images" / split, root / "images")
                       if p.is_dir()), root / split)  # fmt: skip
        return read_coco(folder, annotations, strict=data.strict)
    return read_voc(root, split, data.classes or classes, strict=data.strict)
