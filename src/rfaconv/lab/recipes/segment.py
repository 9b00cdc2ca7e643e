"""Recipes of segmenters."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from rfaconv.lab.recipes.parts import (
    AdamW,
    Backbone,
    CrossEntropyRecipe,
    Optimizer,
    Pixels,
    PositiveInt,
    Splits,
)


class Model(Backbone):
    """The network.

    Attributes:
        kind: of segmenter.
        output_stride: of DeepLabV3Plus: 8 or 16.
    """

    kind: Literal["unet", "deeplabv3plus"] = "unet"
    output_stride: Literal[8, 16] | None = None


class Data(Splits):
    """The images with masks.

    Attributes:
        format: ``folders`` (``ROOT/SPLIT`` and ``ROOT/SPLITannot``, or ``ROOT/images/SPLIT`` and
            ``ROOT/masks/SPLIT``) or ``voc``.
        classes: names of the values in the masks.
        image_size: height and width to which images and masks are scaled; None leaves them, and
            they must all be of one size.
    """

    format: Literal["folders", "voc"] = "folders"
    image_size: tuple[Pixels, Pixels] | None = None


class Segment(CrossEntropyRecipe):
    """Training of a segmenter, judged by mean intersection over union.

    Attributes:
        task: ``segment``.
        model: the network.
        data: the images.
    """

    task: Literal["segment"] = "segment"
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = AdamW()
    batch_size: PositiveInt = 8

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.data.classes:
            raise ValueError("data.classes, the names of the values in the masks")
        return self
