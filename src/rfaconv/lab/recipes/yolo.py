"""Recipes of the YOLO networks of ultralytics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from rfaconv.lab.recipes.parts import (
    AdamW,
    ClassNames,
    NonNegativeInt,
    Operator,
    Optimizer,
    Part,
    PositiveFloat,
    PositiveInt,
    Recipe,
)


class Model(Part):
    """The network.

    Attributes:
        name: as ultralytics calls it, such as ``yolov8n`` or ``yolo11n-seg``.
        operator: at the positions ``at``.
        at: ``down`` (the paper's), ``blocks``, ``head``, several with commas, or ``all``.
        width: factor of the network's channels.
    """

    name: str = "yolov8n"
    operator: Operator = "conv"
    at: str = "down"
    width: PositiveFloat = 1.0


class Data(Part):
    """The images.

    Attributes:
        root: folder of a YOLO data set (with ``data.yaml``), of Pascal VOC, of COCO, or of images
            with masks; what is none of YOLO's is written anew beside the run.
        classes: names of the values in masks from 1 on; other labels bring theirs along.
        size: pixels of the longer side.
        strict: a problem of the data set is an error instead of being named and passed over.
        workers: processes that decode.
    """

    root: str = "data"
    classes: ClassNames = ()
    size: Annotated[int, Field(ge=32, le=2048)] = 320
    strict: bool = False
    workers: NonNegativeInt = 0


class Yolo(Recipe):
    """Training by ultralytics, judged by its mean average precision.

    Attributes:
        task: ``yolo``.
        model: the network.
        data: the images.
        options: any other setting of ultralytics' ``train``, such as ``mosaic: 0``.
    """

    task: Literal["yolo"] = "yolo"
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = AdamW()
    batch_size: PositiveInt = 8
    options: dict[str, Any] = Field(default_factory=dict)
