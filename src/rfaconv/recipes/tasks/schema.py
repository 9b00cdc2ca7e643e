"""What a recipe of a detector or a segmenter may say."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rfaconv.recipes.schema import Above0, Checkpoints, Count, From0, Part, Pixels, Positive

KINDS = {
    "detection": ("fcos", "retinanet", "fasterrcnn"),
    "segmentation": ("unet", "deeplabv3plus"),
}
FORMATS = {"detection": ("voc", "coco", "yolo"), "segmentation": ("folders", "voc")}


class TaskModel(Part):
    """The network.

    Attributes:
        kind: ``fcos``, ``retinanet``, ``fasterrcnn``; ``unet``, ``deeplabv3plus``.
        backbone: a ResNet of timm.
        operator: in place of the first 3x3 convolution of every block of the backbone: ``conv`` for
            none, ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``.
        width: factor of the backbone's channels behind the stem.
        size: of a detector: pixels to which the shorter side of a picture is scaled.
        channels: of a detector's feature pyramid.
        output_stride: of DeepLabV3Plus: 8 or 16.
        warm_start: run folder of the same network with ``operator: conv``; it is converted so that
            training starts from the same function.
    """

    kind: str
    backbone: str = "resnet18"
    operator: Literal["conv", "rfa", "rfcbam", "rfca", "cam", "cbam", "ca"] = "conv"
    width: Above0 = 1.0
    size: Pixels | None = None
    channels: Positive | None = None
    output_stride: Literal[8, 16] | None = None
    warm_start: str | None = None


class TaskData(Part):
    """The pictures.

    Attributes:
        format: of boxes: ``voc`` (XML), ``coco`` (``ROOT/SPLIT`` and
            ``ROOT/annotations/instances_SPLIT.json``, or ``ROOT/SPLIT/_annotations.coco.json``) or
            ``yolo`` (``ROOT/data.yaml``); of masks: ``folders`` (``ROOT/SPLIT`` and
            ``ROOT/SPLITannot``, or ``ROOT/images/SPLIT`` and ``ROOT/masks/SPLIT``) or ``voc``.
        root: the folder.
        train: split to learn from.
        val: split to judge on; None holds a fifth of ``train`` out.
        split_seed: of what is held out.
        classes: names; masks need them, boxes bring them along.
        image_size: height and width to which pictures and masks are scaled; None leaves them, and
            they must all be of one size. Not for boxes.
        strict: a problem of the data set is an error instead of being named and passed over.
        workers: processes that decode.
    """

    format: str
    root: str = "data"
    train: str = "train"
    val: str | None = "val"
    split_seed: Count = 0
    classes: tuple[str, ...] = ()
    image_size: tuple[Pixels, Pixels] | None = None
    strict: bool = False
    workers: Count = 0


class TaskOptimizer(Part):
    """Optimizer, with one cycle of the learning rate.

    Attributes:
        name: ``adamw`` or ``sgd``.
        lr: highest learning rate.
        weight_decay: of all parameters.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Above0 = 1e-3
    weight_decay: From0 = 1e-4


class TaskRecipe(Part):
    """A whole training of a detector or a segmenter.

    Attributes:
        task: ``detection`` (judged by mAP) or ``segmentation`` (by mIoU).
        about: what it is, for people.
        model: the network.
        data: the pictures.
        optimizer: its numbers.
        checkpoints: what to keep.
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        threads: of torch; None for torch's own choice.
        seed: of initialisation, order and augmentation.
    """

    task: Literal["detection", "segmentation"]
    about: str = ""
    model: TaskModel
    data: TaskData
    optimizer: TaskOptimizer = TaskOptimizer()
    checkpoints: Checkpoints = Checkpoints()
    epochs: Positive = 10
    batch_size: Positive = 8
    threads: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key, value, known in (
            ("model.kind", self.model.kind, KINDS[self.task]),
            ("data.format", self.data.format, FORMATS[self.task]),
        ):
            if value not in known:
                raise ValueError(f"{key} one of {', '.join(known)} with task: {self.task}")
        boxes = self.task == "detection"
        if boxes and (self.data.image_size or self.model.output_stride):
            raise ValueError("no data.image_size or model.output_stride with task: detection")
        if not boxes and (self.model.size or self.model.channels):
            raise ValueError("no model.size or model.channels with task: segmentation")
        if not boxes and not self.data.classes:
            raise ValueError("data.classes, the names of the values in the masks")
        return self
