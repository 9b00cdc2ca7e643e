"""Recipes of torchvision's detectors."""

from __future__ import annotations

from typing import Literal

from rfaconv.recipes.parts import (
    AdamW,
    LightningRecipe,
    NonNegativeInt,
    Operator,
    Optimizer,
    Part,
    Pixels,
    PositiveFloat,
    PositiveInt,
)


class Model(Part):
    """The network.

    Attributes:
        kind: of detector.
        backbone: a network of timm, such as ``resnet18``.
        operator: in place of the convolutions at ``where`` in the backbone.
        where: positions by name, as of a classifier; None is the 3x3 convolution of every block.
        width: factor of the backbone's channels behind the stem.
        size: pixels to which the shorter side of a picture is scaled.
        channels: of the feature pyramid.
        warm_start: run folder of the same network with ``operator: conv``; it is converted so that
            training starts from the same function.
    """

    kind: Literal["fcos", "retinanet", "fasterrcnn"] = "fcos"
    backbone: str = "resnet18"
    operator: Operator = "conv"
    where: tuple[str, ...] | None = None
    width: PositiveFloat = 1.0
    size: Pixels | None = None
    channels: PositiveInt | None = None
    warm_start: str | None = None


class Data(Part):
    """The pictures with boxes.

    Attributes:
        format: ``voc`` (XML), ``coco`` (``ROOT/SPLIT`` and
            ``ROOT/annotations/instances_SPLIT.json``, or ``ROOT/SPLIT/_annotations.coco.json``) or
            ``yolo`` (``ROOT/data.yaml``).
        root: the folder.
        train: split to learn from.
        val: split to judge on; None holds a fifth of ``train`` out.
        split_seed: of what is held out.
        classes: names; the boxes bring them along where there are none.
        strict: a problem of the data set is an error instead of being named and passed over.
        workers: processes that decode.
    """

    format: Literal["voc", "coco", "yolo"] = "voc"
    root: str = "data"
    train: str = "train"
    val: str | None = "val"
    split_seed: NonNegativeInt = 0
    classes: tuple[str, ...] = ()
    strict: bool = False
    workers: NonNegativeInt = 0


class Detect(LightningRecipe):
    """Training of a detector, judged by mean average precision.

    Attributes:
        task: ``detect``.
        model: the network.
        data: the pictures.
    """

    task: Literal["detect"] = "detect"
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = AdamW()
    batch_size: PositiveInt = 8
