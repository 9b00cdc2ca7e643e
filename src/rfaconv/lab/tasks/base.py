"""What training, judging and comparing ask of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.digest import content_of, digest_of, image_stamp
from rfaconv.lab.data.masks import MaskSet
from rfaconv.lab.networks.classifiers import PLAIN
from rfaconv.lab.seeds import derive, seed_all
from rfaconv.lab.training.module import TrainingModule
from rfaconv.lab.training.run_data import RunData
from rfaconv.surgery.structure import backbone_of
from rfaconv.variants import OPERATORS

PREDICTOR = "predictor.safetensors"
"""What a run of a detector or a segmenter leaves for ``rfaconv predict``."""
HELD_OUT = 0.2
CALIBRATION, BLOCK = 64, 16
"""Images that a conversion is calibrated with, and how many go through together."""

TITLES = {"top1": "top-1", "map": "mAP", "miou": "mIoU"}
"""What people call the scores."""


@dataclass(frozen=True)
class TaskSets:
    """Images with boxes or masks."""

    train: Any
    val: Any

    @property
    def classes(self) -> tuple[str, ...]:
        """Names."""
        names: tuple[str, ...] = self.train.classes
        return names

    @property
    def problems(self) -> tuple[str, ...]:
        """What was passed over while reading."""
        return tuple(str(p) for p in (*self.train.problems, *self.val.problems))

    @cached_property
    def digest(self) -> str:
        """A name of the content: of the images and of their boxes or masks."""
        return digest_of(self.classes, _stamps(self.train), _stamps(self.val))


def _stamps(part: Any) -> Iterator[object]:
    if isinstance(part, MaskSet):
        for image, mask in part.pairs:
            yield image_stamp(image), content_of(mask, whole=True)
    else:
        for sample in part.samples:
            yield image_stamp(sample.image), sample.boxes, sample.labels


class Task(ABC):
    """One task: its data, its network, its loss and score, and what it writes at the end."""

    score: ClassVar[str]
    """Name of the score in every file."""
    processes: ClassVar[bool] = False
    """Whether several processes may share a training."""

    @abstractmethod
    def data(self, recipe: Any) -> Any:
        """The images of a recipe.

        Raises:
            InvalidArgument: they are missing, or damaged with ``data.strict``.
        """

    @abstractmethod
    def plain(self, recipe: Any, data: Any, fetch: bool = True) -> nn.Module:
        """The recipe's network without the operator, initialised.

        Without ``fetch`` it is its structure alone, for weights that are to be loaded.
        """

    @abstractmethod
    def body(self, network: nn.Module) -> nn.Module:
        """The part of it that gets the operator."""

    @abstractmethod
    def example(self, recipe: Any, data: Any) -> Any:
        """One image in the form that the network takes in evaluation."""

    @abstractmethod
    def training_loss(
        self, network: nn.Module, recipe: Any, data: Any, device: torch.device
    ) -> Callable[[], Tensor]:
        """The loss of one batch, to be taken again and again."""

    @abstractmethod
    def judge(self, network: nn.Module, recipe: Any, data: Any) -> dict[str, Any]:
        """The score in detail, of the validation images."""


class LightningTask(Task):
    """A task that Lightning trains."""

    @abstractmethod
    def calibration(self, network: nn.Module, recipe: Any, data: Any) -> list[Tensor]:
        """Batches of what the body is given, of training images."""

    @abstractmethod
    def module(self, network: nn.Module, recipe: Any, data: Any, steps: int) -> TrainingModule:
        """The module that Lightning trains."""

    @abstractmethod
    def loading(self, recipe: Any, data: Any) -> RunData:
        """The loaders."""

    def finish(self, out: Path, network: nn.Module, recipe: Any, data: Any) -> None:
        """What a run leaves behind beside its checkpoints."""
        return

    def training_loss(
        self, network: nn.Module, recipe: Any, data: Any, device: torch.device
    ) -> Callable[[], Tensor]:
        """The loss of the first batch."""
        loading = self.loading(recipe, data)
        module = self.module(network, recipe, data, loading.steps * recipe.epochs).to(device)
        batch = move_data_to_device(next(iter(loading.train_dataloader())), device)
        return lambda: module.train().loss(batch)[0]


class BackboneTask(LightningTask):
    """A task whose networks are built on a backbone of timm, which gets the operator."""

    @abstractmethod
    def build(self, kind: str, backbone: str, classes: int, **settings: Any) -> nn.Module:
        """A network with the backbone as timm has it."""

    @abstractmethod
    def settings(self, recipe: Any) -> dict[str, Any]:
        """What else a recipe's network is built with."""

    def plain(self, recipe: Any, data: Any, fetch: bool = True) -> nn.Module:
        """The network of the recipe's kind."""
        seed_all(derive(recipe.seed, "network"))
        model = recipe.model
        return self.build(model.kind, model.backbone, len(data.classes), **self.settings(recipe))

    def body(self, network: nn.Module) -> nn.Module:
        """The backbone."""
        return backbone_of(network)

    def finish(self, out: Path, network: nn.Module, recipe: Any, data: Any) -> None:
        """The file for ``rfaconv predict``; no file describes ablations, so they have none."""
        model = recipe.model
        if model.operator not in (PLAIN, *OPERATORS):
            return
        from rfaconv.lab.predict import save_predictor

        size = getattr(recipe.data, "image_size", None)
        save_predictor(
            out / PREDICTOR, network, task=recipe.task, kind=model.kind, names=data.classes,
            backbone=model.backbone, converted=None if model.operator == PLAIN else model.operator,
            **self.settings(recipe), **({} if size is None else {"image_size": size}),
        )  # fmt: skip

    def calibration_images(self, data: Any) -> list[Tensor]:
        """Some training images, evenly spread."""
        count = len(data.train)
        return [data.train[i][0] for i in range(0, count, max(1, count // CALIBRATION))]


def held_out(every: Any, seed: int) -> TaskSets:
    """Four fifths to learn from and a fifth to judge on; what was passed over is named once."""
    if len(every) < 2:
        raise InvalidArgument("data", "two images or more to hold one out", f"{len(every)}")
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed)).tolist()
    held = max(1, round(HELD_OUT * len(every)))
    return TaskSets(every.subset(sorted(order[held:])), every.subset(sorted(order[:held])))


def folder_of(recipe: Any) -> Path:
    """The folder of ``data.root``.

    Raises:
        InvalidArgument: there is none.
    """
    root = Path(recipe.data.root).expanduser()
    if not root.is_dir():
        raise InvalidArgument("data.root", "a folder", str(root))
    return root
