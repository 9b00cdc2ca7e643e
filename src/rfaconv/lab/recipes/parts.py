"""What recipes of all tasks have in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# as pydantic's of the same names, but finite and within 32 bits
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=4, le=1024)]


def _present_name(value: Any) -> Any:
    return "features" if value == "none" else value


Operator = Annotated[
    Literal[
        "conv", "cam", "cbam", "ca", "rfa", "rfcbam", "rfca", "features", "unfold", "rfa-values"
    ],
    BeforeValidator(_present_name),
]
"""In place of convolutions: ``conv`` for none, an operator, or one of three ablations: ``features``
(those of the receptive field without attention), ``unfold`` (attention on the patches) and
``rfa-values`` (RFA with its logits from the values of the patch)."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("each name once")
    return names


ClassNames = Annotated[tuple[str, ...], AfterValidator(_each_once)]


class Part(BaseModel):
    """A group of keys; any other key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(Part):
    """A network on a backbone.

    Attributes:
        backbone: a network of timm, such as ``resnet18``.
        operator: in place of the convolutions at ``where`` in the backbone.
        where: positions by name, as of a classifier; None is the 3x3 convolution of every block.
        width: factor of the backbone's channels behind the stem, and of a segmenter's decoder.
        warm_start: run folder of the same network with ``operator: conv``; it is converted so that
            training starts from the same function.
    """

    backbone: str = "resnet18"
    operator: Operator = "conv"
    where: tuple[str, ...] | None = None
    width: PositiveFloat = 1.0
    warm_start: str | None = None


class Augmented(Part):
    """Images that are changed at random in training.

    Attributes:
        augment: a base, and after plus signs what is added to it.
    """

    bases: ClassVar[tuple[str, ...]] = ("hflip", "none")
    added: ClassVar[tuple[str, ...]] = ("scale-jitter", "crop", "photometric")
    augment: str = "hflip"

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The base, then what is added to it."""
        return tuple(self.augment.split("+"))

    @model_validator(mode="after")
    def _known(self) -> Self:
        base, *more = self.augmentations
        if base not in self.bases or any(name not in self.added for name in more):
            known = f"{', '.join(self.bases)}, then any of {', '.join(self.added)} after plus signs"
            raise ValueError(f"augment one of {known}")
        if len(set(more)) < len(more) or {"mixup", "cutmix"} <= set(more):
            raise ValueError("augment with each name once, and one of mixup and cutmix")
        return self


class Splits(Augmented):
    """Images in a folder, some to learn from and some to judge on.

    Attributes:
        root: the folder.
        train: split to learn from; empty for all of a folder without splits.
        val: split to judge on; None holds a fifth of ``train`` out.
        split_seed: of what is held out.
        augment: ``hflip`` or ``none``, and after a plus sign any of ``scale-jitter`` (between half
            and twice the size), ``crop`` and ``photometric``, such as ``hflip+crop+photometric``.
        strict: a problem of the data set is an error instead of being named and passed over.
        workers: processes that decode.
    """

    root: str = "data"
    train: str = "train"
    val: str | None = "val"
    split_seed: NonNegativeInt = 0
    classes: ClassNames = ()
    strict: bool = False
    workers: NonNegativeInt = 0


class Optimizer(Part):
    """What moves the weights.

    Attributes:
        name: ``sgd``, ``adamw``, or any other optimizer that timm knows, such as ``lamb``.
        lr: highest learning rate.
        momentum: of SGD.
        nesterov: whether it looks ahead.
        weight_decay: of all parameters.
    """

    name: str = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 1e-4


class AdamW(Optimizer):
    """The same keys with the defaults of tasks that are trained by AdamW."""

    name: str = "adamw"
    lr: PositiveFloat = 1e-3


class LearningRate(Part):
    """How the learning rate goes.

    Attributes:
        name: ``one-cycle`` (up in the first quarter of the steps, then down), ``steps``,
            ``cosine`` or ``constant``; ``tanh``, ``poly`` and ``step`` are timm's, an epoch a step.
        milestones: epochs after which ``steps`` multiplies by ``gamma``.
        gamma: see ``milestones``.
        warmup_epochs: of a linear rise from zero (not for ``one-cycle``, which has its own).
    """

    name: Literal["one-cycle", "steps", "cosine", "constant", "tanh", "poly", "step"] = "one-cycle"
    milestones: tuple[PositiveInt, ...] = ()
    gamma: PositiveFloat = 0.1
    warmup_epochs: NonNegativeFloat = 0.0

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


ClassWeights = Literal["balanced"] | tuple[PositiveFloat, ...] | None
"""Of the cross-entropy: a number for each class, or such that all classes count the same."""


class Recipe(Part):
    """A whole training. Equal recipes on one machine give equal numbers.

    Attributes:
        task: ``classify``, ``detect``, ``segment`` or ``yolo``: decides which keys there are.
        about: what it is, for people.
        optimizer: its numbers.
        epochs: passes over the training images.
        batch_size: images in an optimizer step, over all processes together.
        threads: of torch in each process; None for torch's own choice.
        seed: of initialisation, order and augmentation.
    """

    task: str
    about: str = ""
    model: Any
    data: Any
    optimizer: Optimizer = Optimizer()
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    threads: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def with_model(self, **changes: Any) -> Self:
        """The recipe with other keys of its model."""
        return self.model_copy(update={"model": self.model.model_copy(update=changes)})


class LightningRecipe(Recipe):
    """A training by Lightning.

    Attributes:
        learning_rate: how the learning rate goes.
        checkpoints: what to keep.
        accumulate: parts in which each process computes its share of a step.
        ema: decay of the moving average of the weights, which is then what is evaluated.
        precision: as of Lightning's Trainer.
    """

    learning_rate: LearningRate = LearningRate()
    checkpoints: Checkpoints = Checkpoints()
    accumulate: PositiveInt = 1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"

    @model_validator(mode="after")
    def _accumulates(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError("a batch_size that accumulate divides")
        return self


class CrossEntropyRecipe(LightningRecipe):
    """A training by cross-entropy.

    Attributes:
        label_smoothing: of the cross-entropy.
        class_weights: of the cross-entropy; ``balanced``, or a number for each class.
    """

    label_smoothing: Fraction = 0.0
    class_weights: ClassWeights = None
