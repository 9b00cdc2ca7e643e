"""What a recipe may say; an unknown key or a value of the wrong kind is an error."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
From0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=4, le=1024)]


class Part(BaseModel):
    """A group of keys; any other key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Part):
    """The network.

    Attributes:
        name: ``small`` or a ResNet of timm.
        operator: in place of the first 3x3 convolution of every block: ``conv`` for none, ``rfa``,
            ``rfcbam``, ``rfca``, ``cam``, ``cbam``, ``ca``, and the ablations ``none`` (features
            without attention) and ``unfold`` (attention on the patches themselves).
        kernel_size: of those convolutions, in pixels; None leaves the network's own.
        published_init: initialise as the published ImageNet training does.
        backend: of the operators.
        warm_start: run folder or safetensors file of the network with plain convolutions; it is
            converted so that training starts from the same function.
        reset_head: leave the classifier of ``warm_start`` out, as for other classes.
    """

    name: str = "small"
    operator: str = "conv"
    kernel_size: Literal[3, 5, 7] | None = None
    published_init: bool = False
    backend: Literal["auto", "reference", "cpu", "triton"] = "auto"
    warm_start: str | None = None
    reset_head: bool = False


class Data(Part):
    """The images.

    Attributes:
        name: ``digits``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``eurosat``,
            ``folder:PATH`` or ``webdataset:PLACE`` (shards in a folder or at a URL).
        root: folder of the named sets.
        image_size: height and width in pixels; None for the set's own.
        augment: ``shift`` (and mirror), ``resized-crop`` (folders above 2 GiB decoded, which are
            read anew in every epoch) or ``none``.
        evaluation: with ``resized-crop``: name -> pixels of the shorter side before the centre is
            cut out; training validates with the first.
        part: which part of ``eurosat`` validates, ``val`` or ``test``.
        strict: a damaged image is an error instead of being left out.
        download: whether torchvision may fetch a missing set.
        limit: at most so many training images, the classes kept even.
        split_seed: of the split of a folder without ``val/``.
        workers: processes that decode, per rank.
    """

    name: str = "digits"
    root: str = "data"
    image_size: Pixels | None = None
    augment: Literal["shift", "resized-crop", "none"] = "shift"
    evaluation: dict[str, Pixels] = Field(default_factory=dict)
    part: Literal["val", "test"] = "val"
    strict: bool = False
    download: bool = False
    limit: Positive | None = None
    split_seed: Count = 0
    workers: Count = 0


class Optimizer(Part):
    """SGD.

    Attributes:
        lr: highest learning rate.
        momentum: of SGD.
        nesterov: whether it looks ahead.
        weight_decay: of all parameters.
    """

    lr: Above0 = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: From0 = 1e-4


class LearningRate(Part):
    """How the learning rate goes.

    Attributes:
        name: ``one-cycle`` (up in the first quarter of the steps, then down), ``steps``,
            ``cosine`` or ``constant``.
        milestones: epochs after which ``steps`` multiplies by ``gamma``.
        gamma: see ``milestones``.
        warmup_epochs: of a linear rise from zero (not for ``one-cycle``, which has its own).
    """

    name: Literal["one-cycle", "steps", "cosine", "constant"] = "one-cycle"
    milestones: tuple[Positive, ...] = ()
    gamma: Above0 = 0.1
    warmup_epochs: From0 = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("ascending milestones")
        if self.name != "steps" and self.milestones:
            raise ValueError("milestones only with name: steps")
        if self.name == "one-cycle" and self.warmup_epochs:
            raise ValueError("no warmup_epochs with name: one-cycle")
        return self


class Checkpoints(Part):
    """What to keep; a checkpoint is written at the end of every epoch.

    Attributes:
        keep: newest checkpoints to keep beside the best.
    """

    keep: Annotated[int, Field(ge=2)] = 2


class Recipe(Part):
    """A whole training. Equal recipes on one machine give equal numbers.

    Attributes:
        about: what it is, for people.
        model: the network.
        data: the images.
        optimizer: SGD's numbers.
        learning_rate: how the learning rate goes.
        checkpoints: what to keep.
        epochs: passes over the training images.
        batch_size: images in an optimizer step, over all processes together.
        accumulate: parts in which each process computes its share of a step.
        label_smoothing: of the cross-entropy.
        ema: decay of the moving average of the weights, which is then what is evaluated.
        sync_batch_norm: batch statistics over all processes.
        channels_last: memory format of network and images.
        compile: run the network through ``torch.compile``.
        precision: as of Lightning's Trainer.
        threads: of torch in each process; None for torch's own choice.
        seed: of initialisation, order and augmentation.
    """

    about: str = ""
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    learning_rate: LearningRate = LearningRate()
    checkpoints: Checkpoints = Checkpoints()
    epochs: Positive = 10
    batch_size: Positive = 64
    accumulate: Positive = 1
    label_smoothing: Fraction = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    sync_batch_norm: bool = False
    channels_last: bool = False
    compile: bool = False
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    threads: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError("a batch_size that accumulate divides")
        place = self.data.name.partition(":")[0]
        if place in ("folder", "webdataset") and self.data.root != "data":
            raise ValueError(f"data.name={place}:PLACE alone; data.root is for the named sets")
        if self.data.augment == "resized-crop" and not self.data.evaluation:
            raise ValueError("data.evaluation, name: pixels, with data.augment: resized-crop")
        if self.data.evaluation and self.data.augment != "resized-crop":
            raise ValueError("data.evaluation only with data.augment: resized-crop")
        return self
