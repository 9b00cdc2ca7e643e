"""Recipes of segmenters."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from rfaconv.recipes.parts import (
    AdamW,
    ClassWeights,
    Fraction,
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
        kind: of segmenter.
        backbone: a network of timm, such as ``resnet18``.
        operator: in place of the convolutions at ``where`` in the backbone.
        where: positions by name, as of a classifier; None is the 3x3 convolution of every block.
        width: factor of the channels behind the stem.
        output_stride: of DeepLabV3Plus: 8 or 16.
        warm_start: run folder of the same network with ``operator: conv``; it is converted so that
            training starts from the same function.
    """

    kind: Literal["unet", "deeplabv3plus"] = "unet"
    backbone: str = "resnet18"
    operator: Operator = "conv"
    where: tuple[str, ...] | None = None
    width: PositiveFloat = 1.0
    output_stride: Literal[8, 16] | None = None
    warm_start: str | None = None


class Data(Part):
    """The pictures with masks.

    Attributes:
        format: ``folders`` (``ROOT/SPLIT`` and ``ROOT/SPLITannot``, or ``ROOT/images/SPLIT`` and
            ``ROOT/masks/SPLIT``) or ``voc``.
        root: the folder.
        train: split to learn from.
        val: split to judge on; None holds a fifth of ``train`` out.
        split_seed: of what is held out.
        classes: names of the values in the masks.
        image_size: height and width to which pictures and masks are scaled; None leaves them, and
            they must all be of one size.
        strict: a problem of the data set is an error instead of being named and passed over.
        workers: processes that decode.
    """

    format: Literal["folders", "voc"] = "folders"
    root: str = "data"
    train: str = "train"
    val: str | None = "val"
    split_seed: NonNegativeInt = 0
    classes: tuple[str, ...] = ()
    image_size: tuple[Pixels, Pixels] | None = None
    strict: bool = False
    workers: NonNegativeInt = 0


class Segment(LightningRecipe):
    """Training of a segmenter, judged by mean intersection over union.

    Attributes:
        task: ``segment``.
        model: the network.
        data: the pictures.
        label_smoothing: of the cross-entropy.
        class_weights: of the cross-entropy; ``balanced``, or a number for each class.
    """

    task: Literal["segment"] = "segment"
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = AdamW()
    batch_size: PositiveInt = 8
    label_smoothing: Fraction = 0.0
    class_weights: ClassWeights = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.data.classes:
            raise ValueError("data.classes, the names of the values in the masks")
        return self
