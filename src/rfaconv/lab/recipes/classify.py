"""Recipes of classifiers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from rfaconv.lab.recipes.parts import (
    Augmented,
    CrossEntropyRecipe,
    NonNegativeInt,
    Operator,
    Part,
    Pixels,
    PositiveFloat,
    PositiveInt,
)


class Model(Part):
    """The network.

    Attributes:
        name: ``small`` or any network of timm, such as ``resnet18`` or ``convnext_atto``.
        pretrained: weights to start from: true for timm's own, which it fetches, or a file; the
            network is then converted so that training starts from the same function.
        operator: in place of the convolutions at ``where``.
        where: positions by name: ``basic_block_conv1``, ``bottleneck_3x3``, ``downsampling``,
            ``spatial``, ``everything`` or a pattern of names such as ``layer1.*``; several are
            joined. None is the 3x3 convolution of every residual block, and in other networks
            ``spatial`` without the stem.
        width: factor of the channels behind the stem; other than 1 only with ``small`` or a ResNet.
        kernel_size: of those convolutions, in pixels; None leaves the network's own.
        backend: of the operators.
        warm_start: run folder or safetensors file of the network with plain convolutions; it is
            converted so that training starts from the same function.
        reset_head: leave the classifier of ``warm_start`` out, as for other classes.
    """

    name: str = "small"
    pretrained: bool | str = False
    operator: Operator = "conv"
    where: tuple[str, ...] | None = None
    width: PositiveFloat = 1.0
    kernel_size: Literal[3, 5, 7] | None = None
    backend: Literal["auto", "reference", "cpu", "triton"] = "auto"
    warm_start: str | None = None
    reset_head: bool = False


class Data(Augmented):
    """The images.

    Attributes:
        name: ``digits``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``eurosat`` or
            ``folder:PATH``.
        root: folder of the named sets.
        image_size: height and width in pixels; None for the set's own.
        augment: ``shift`` (with hflip), ``resized-crop`` (of a folder, whose files are then
            read anew in every epoch) or ``none``; one of these, and after a plus sign any of
            torchvision's ``randaugment``, ``trivialaugment``, ``mixup`` and ``cutmix``, such as
            ``shift+randaugment+mixup``.
        evaluation: with ``resized-crop``: name -> pixels of the shorter side before the centre is
            cut out; training validates with the first.
        part: which part of ``eurosat`` validates, ``val`` or ``test``.
        strict: a damaged image is an error instead of being left out.
        download: whether torchvision may fetch a missing set.
        limit: at most so many training images, the classes kept even.
        split_seed: of the split of a folder without ``val/``.
        workers: processes that decode, per rank.
    """

    bases: ClassVar[tuple[str, ...]] = ("shift", "resized-crop", "none")
    added: ClassVar[tuple[str, ...]] = ("randaugment", "trivialaugment", "mixup", "cutmix")
    name: str = "digits"
    root: str = "data"
    image_size: Pixels | None = None
    augment: str = "shift"
    evaluation: dict[str, Pixels] = Field(default_factory=dict)
    part: Literal["val", "test"] = "val"
    strict: bool = False
    download: bool = False
    limit: PositiveInt | None = None
    split_seed: NonNegativeInt = 0
    workers: NonNegativeInt = 0

    @property
    def crops(self) -> bool:
        """Whether images are decoded and cropped anew in every epoch."""
        return self.augmentations[0] == "resized-crop"


class Classify(CrossEntropyRecipe):
    """Training of a classifier, judged by top-1 accuracy.

    Attributes:
        task: ``classify``.
        model: the network.
        data: the images.
        sync_batch_norm: batch statistics over all processes.
        channels_last: memory format of network and images.
        compile: run the network through ``torch.compile``.
    """

    task: Literal["classify"] = "classify"
    model: Model = Model()
    data: Data = Data()
    sync_batch_norm: bool = False
    channels_last: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        place = self.data.name.partition(":")[0]
        if place == "folder" and self.data.root != "data":
            raise ValueError("data.name=folder:PATH alone; data.root is for the named sets")
        if self.data.crops and not self.data.evaluation:
            raise ValueError("data.evaluation, name: pixels, with data.augment: resized-crop")
        if self.data.evaluation and not self.data.crops:
            raise ValueError("data.evaluation only with data.augment: resized-crop")
        if self.model.pretrained and self.model.warm_start:
            raise ValueError("one of model.pretrained and model.warm_start")
        if self.model.pretrained and self.model.name == "small":
            raise ValueError("model.name of timm with model.pretrained")
        return self
