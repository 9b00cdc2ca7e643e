"""Classifiers: a class for every image, judged by top-1 accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from torch import Tensor, nn
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)
from torchvision.transforms import v2

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, ImageData, ImageSet, Normalize, load_data, val_loader
from rfaconv.lab.data.decoding import FileImages
from rfaconv.lab.data.loaders import as_is
from rfaconv.lab.networks.classifiers import PLAIN, build_network, check_network
from rfaconv.lab.recipes import Classify
from rfaconv.lab.seeds import derive
from rfaconv.lab.tasks.base import LightningTask
from rfaconv.lab.training.classifier import Classifier
from rfaconv.lab.training.run_data import RunData

CALIBRATION, VAL_BATCH = 256, 256
Change = Callable[[Tensor, int], Tensor]


class ClassifyTask(LightningTask):
    """A network of timm on images of one size."""

    score: ClassVar[str] = "top1"
    processes: ClassVar[bool] = True

    def data(self, recipe: Classify) -> ImageData:
        """The images, in memory where they are few."""
        part = recipe.data
        spec = DataSpec(
            part.name, part.image_size, Path(part.root), part.download, part.strict, part.limit,
            part.split_seed, part.part, part.crops,
        )  # fmt: skip
        data = load_data(spec)
        if recipe.model.pretrained and data.channels == 3:
            check_network(recipe.model.name)
            known: Any = timm.get_pretrained_cfg(recipe.model.name)
            # what its weights were trained with
            data = dataclasses.replace(data, mean=tuple(known.mean), std=tuple(known.std))
        if not part.crops:
            return data
        return _crops(data, next(iter(part.evaluation.values())), derive(recipe.seed, "crops"))

    def plain(self, recipe: Classify, data: ImageData, fetch: bool = True) -> nn.Module:
        """A timm network with a stem that suits the images."""
        return build_network(
            recipe.model.name,
            PLAIN,
            classes=len(data.classes),
            channels=data.channels,
            image_size=data.image_size,
            seed=derive(recipe.seed, "network"),
            kernel_size=recipe.model.kernel_size,
            width=recipe.model.width,
            pretrained=recipe.model.pretrained,
            fetch=fetch,
        )

    def body(self, network: nn.Module) -> nn.Module:
        """All of it."""
        return network

    def calibration(self, network: nn.Module, recipe: Classify, data: ImageData) -> list[Tensor]:
        """Images that lie evenly in the training set."""
        count = min(CALIBRATION, len(data.train))
        index = torch.linspace(0, len(data.train) - 1, count).long().tolist()
        return [Normalize(data.mean, data.std)(data.train.__getitems__(index)[0])]

    def module(
        self, network: nn.Module, recipe: Classify, data: ImageData, steps: int
    ) -> Classifier:
        """Cross-entropy."""
        return Classifier(network, recipe, steps, data)

    def loading(self, recipe: Classify, data: ImageData) -> RunData:
        """A batch is one piece of a tensor."""
        return RunData(recipe, data.train, data.val, as_is, VAL_BATCH)

    def example(self, recipe: Classify, data: ImageData) -> Tensor:
        """A black image."""
        return torch.zeros(1, data.channels, data.image_size, data.image_size)

    def judge(self, network: nn.Module, recipe: Classify, data: ImageData) -> dict[str, Any]:
        """Top-1, top-5, calibration error, recall of the classes, confusion.

        With several ``data.evaluation`` they are of the first; ``evaluations`` has all by name.
        """
        named = {
            name: _center_crop(data.val, data.image_size, resize)
            for name, resize in recipe.data.evaluation.items()
        }
        values = {name: measured(network, data, images) for name, images in named.items()}
        value = dict(next(iter(values.values()))) if values else measured(network, data, data.val)
        short = ("top1", "top5", "ece")
        value["evaluations"] = {k: {m: v[m] for m in short} for k, v in values.items()}
        return value


def measured(
    network: nn.Module, data: ImageData, images: ImageSet, change: Change | None = None
) -> dict[str, Any]:
    """What a network gets right on images.

    Args:
        network: in evaluation mode.
        data: where the images are from.
        images: those to judge on.
        change: made to every batch of bytes before it is normalised; is told how many images came
            before.
    """
    count, seen = len(data.classes), 0
    metrics = {
        "top1": MulticlassAccuracy(count, average="micro"),
        "top5": MulticlassAccuracy(count, average="micro", top_k=min(5, count)),
        "ece": MulticlassCalibrationError(count, n_bins=15),
        "per_class": MulticlassAccuracy(count, average=None),
        "confusion": MulticlassConfusionMatrix(count),
    }
    normalize = Normalize(data.mean, data.std)
    for batch, labels in val_loader(images, VAL_BATCH):
        if change is not None:
            batch = change(batch, seen)
        scores = network(normalize(batch)).softmax(1)
        seen += len(labels)
        for metric in metrics.values():
            metric.update(scores, labels)
    value = {name: metric.compute().tolist() for name, metric in metrics.items()}
    return {**value, "images": seen}


def _crops(data: ImageData, resize: int, seed: int = 0) -> ImageData:
    """Random crops to train on, decoded anew in every epoch; the resized centre to validate."""
    size = data.image_size
    train = v2.Compose(
        [v2.RGB(), v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(),
         v2.PILToTensor()]
    )  # fmt: skip
    val = _center_crop(data.val, size, resize)
    assert isinstance(data.train, FileImages)
    return dataclasses.replace(data, train=FileImages(data.train.files, train, seed), val=val)


def _center_crop(images: ImageSet, size: int, resize: int) -> ImageSet:
    """The same images with the shorter side at ``resize`` and the centre of ``size`` cut out.

    Raises:
        InvalidArgument: the images lie in memory, in one size.
    """
    cut = v2.Compose(
        [v2.RGB(), v2.Resize(resize, antialias=True), v2.CenterCrop(size), v2.PILToTensor()]
    )
    if isinstance(images, FileImages):
        return FileImages(images.files, cut)
    raise InvalidArgument("data.name", "folder:PATH, with resized-crop", "images in memory")
