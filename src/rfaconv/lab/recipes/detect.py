"""Recipes of torchvision's detectors."""

from __future__ import annotations

from typing import Literal

from rfaconv.lab.recipes.parts import (
    AdamW,
    Backbone,
    LightningRecipe,
    Optimizer,
    Pixels,
    PositiveInt,
    Splits,
)


class Model(Backbone):
    """The network.

    Attributes:
        kind: of detector.
        size: pixels to which the shorter side of an image is scaled.
        channels: of the feature pyramid.
    """

    kind: Literal["fcos", "retinanet", "fasterrcnn"] = "fcos"
    size: Pixels | None = None
    channels: PositiveInt | None = None


class Data(Splits):
    """The images with boxes.

    Attributes:
        format: ``voc`` (XML), ``coco`` (``ROOT/SPLIT`` and
            ``ROOT/annotations/instances_SPLIT.json``, or ``ROOT/SPLIT/_annotations.coco.json``) or
            ``yolo`` (``ROOT/data.yaml``).
        classes: names; the boxes bring them along where there are none.
    """

    format: Literal["voc", "coco", "yolo"] = "voc"


class Detect(LightningRecipe):
    """Training of a detector, judged by mean average precision.

    Attributes:
        task: ``detect``.
        model: the network.
        data: the images.
    """

    task: Literal["detect"] = "detect"
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = AdamW()
    batch_size: PositiveInt = 8
