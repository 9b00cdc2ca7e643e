"""From a recipe to its pictures, its network and its Lightning module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rfaconv.detection import build_detector, read_coco, read_voc, read_yolo
from rfaconv.detection import fit as detecting
from rfaconv.detection.samples import DetectionSet
from rfaconv.errors import InvalidArgument
from rfaconv.recipes.tasks import TaskRecipe
from rfaconv.segmentation import MaskSet, build_segmenter, read_masks, read_voc_masks
from rfaconv.segmentation import fit as segmenting
from rfaconv.segmentation.networks import standardised
from rfaconv.surgery.structure import backbone_of, converted_structure_
from rfaconv.training.build import load_weights, read_weights
from rfaconv.training.saves import WEIGHTS, best_good
from rfaconv.training.seeds import derive, seed_all
from rfaconv.training.task_module import TaskModule

CALIBRATION = 64
HELD_OUT = 0.2
_PLAIN = "conv"


@dataclass(frozen=True)
class TaskSets:
    """Pictures to learn from and to judge on, of one task and with the same classes."""

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


def task_sets(recipe: TaskRecipe) -> TaskSets:
    """The pictures of a recipe.

    Raises:
        InvalidArgument: there is no such folder or split, or the splits have other classes.
        RFAConvError: no picture is left, or with ``data.strict`` the first problem.
    """
    data = recipe.data
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise InvalidArgument("data.root", "a folder", str(root))
    read = _boxes if recipe.task == "detection" else _masks
    if data.val is None:
        return TaskSets(*_held_out(read(recipe, root, data.train), data.split_seed))
    if recipe.task == "detection":
        train = _boxes(recipe, root, data.train)
        val = _boxes(recipe, root, data.val, train.classes)
        if train.classes != val.classes:
            expected = "the classes of the training pictures in data.val"
            raise InvalidArgument("data", expected, ", ".join(val.classes))
        return TaskSets(train, val)
    return TaskSets(_masks(recipe, root, data.train), _masks(recipe, root, data.val))


def task_network(recipe: TaskRecipe, sets: TaskSets, weights: Path | None = None) -> nn.Module:
    """The network of a recipe, initialised or from its ``model.warm_start``.

    With ``weights``, a file that a run of the recipe saved, it has those, whatever became of the
    warm start.

    Raises:
        InvalidArgument: an unknown name, or weights that do not fit.
    """
    model = recipe.model
    source = model.warm_start
    plain = source is not None or model.operator == _PLAIN
    name = model.backbone if plain else f"{model.operator}_{model.backbone}"
    seed_all(derive(recipe.seed, "network"))
    network = built(recipe, name, len(sets.classes))
    if weights is not None:
        if source is not None and model.operator != _PLAIN:
            converted_structure_(network, model.operator, read_weights(weights))
        load_weights(network, weights)
    elif source is not None:
        path = Path(source).expanduser()
        load_weights(network, best_good(path) / WEIGHTS if path.is_dir() else path)
        if model.operator != _PLAIN:
            _convert(network, recipe, sets)
    return network


def built(recipe: TaskRecipe, backbone: str, classes: int) -> nn.Module:
    """The recipe's kind of network on a backbone."""
    if recipe.task == "detection":
        return build_detector(recipe.model.kind, backbone, classes, **settings(recipe))
    return build_segmenter(recipe.model.kind, backbone, classes, **settings(recipe))


def settings(recipe: TaskRecipe) -> dict[str, Any]:
    """What else the network is built with: the keys of the recipe that are not None."""
    model = recipe.model
    keys = ("size", "channels") if recipe.task == "detection" else ("output_stride",)
    chosen = {key: getattr(model, key) for key in keys if getattr(model, key) is not None}
    return {**chosen, "width": model.width}


def task_module(
    recipe: TaskRecipe, network: nn.Module, sets: TaskSets
) -> tuple[TaskModule, Any, Any]:
    """The Lightning module and the loaders to train and to judge with."""
    optimizer = recipe.optimizer
    common = (recipe.batch_size, recipe.seed, recipe.data.workers)
    numbers = (optimizer.lr, optimizer.name, optimizer.weight_decay, recipe.seed)
    if recipe.task == "detection":
        train, val = detecting.loaders(sets.train, sets.val, *common)
        steps = len(train) * recipe.epochs
        return detecting.Detector(network, steps, *numbers), train, val
    train, val = segmenting.loaders(sets.train, sets.val, *common)
    steps = len(train) * recipe.epochs
    return segmenting.Segmenter(network, len(sets.classes), steps, *numbers), train, val


class TaskLoaders(LightningDataModule):
    """The loaders of a training, which go on within the epoch that a checkpoint was saved in."""

    def __init__(self, train: DataLoader[Any], val: DataLoader[Any]) -> None:
        super().__init__()
        self.train, self.val = train, val

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches to train on; those of the current epoch that are done are left out."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        batches: Any = self.train.batch_sampler
        batches.go_on(self.trainer.current_epoch, module.within)
        return self.train

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches to judge on."""
        return self.val


def _held_out(every: Any, seed: int) -> tuple[Any, Any]:
    """Four fifths to learn from and a fifth to judge on; what was passed over is named once."""
    if len(every) < 2:
        raise InvalidArgument("data", "two images or more to hold one out", f"{len(every)}")
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed)).tolist()
    held = max(1, round(HELD_OUT * len(every)))
    train, val = every.subset(sorted(order[held:])), every.subset(sorted(order[:held]))
    return train, val


def _boxes(
    recipe: TaskRecipe, root: Path, split: str, classes: tuple[str, ...] | None = None
) -> DetectionSet:
    data = recipe.data
    if data.format == "yolo":
        return read_yolo(root, split, strict=data.strict)
    if data.format == "coco":
        annotations = root / "annotations" / f"instances_{split}.json"
        beside = root / split / "_annotations.coco.json"
        if not annotations.is_file() and beside.is_file():
            annotations = beside
        # where it is not called as the split is, all images lie in one folder
        folder = next((p for p in (root / split, root / "images" / split, root / "images")
                       if p.is_dir()), root / split)  # fmt: skip
        return read_coco(folder, annotations, strict=data.strict)
    return read_voc(root, split, data.classes or classes, strict=data.strict)


def _masks(recipe: TaskRecipe, root: Path, split: str) -> MaskSet:
    data = recipe.data
    if data.format == "voc":
        found = read_voc_masks(root, split, data.classes, strict=data.strict)
    else:
        beside = root / f"{split}annot"
        pictures, masks = (
            (root / split, beside)
            if beside.is_dir()
            else (root / "images" / split, root / "masks" / split)
        )
        found = read_masks(pictures, masks, data.classes, strict=data.strict)
    found.size = data.image_size
    return found


def _convert(network: nn.Module, recipe: TaskRecipe, sets: TaskSets) -> None:
    """Puts the operator into the trained backbone, which goes on computing the same."""
    from rfaconv.surgery import convert_
    from rfaconv.surgery.where import basic_block_conv1, bottleneck_3x3

    network.eval()
    convert_(backbone_of(network), recipe.model.operator,
             where=basic_block_conv1 | bottleneck_3x3, init="preserve",
             calibration=list(_calibration(network, recipe, sets)))  # fmt: skip
    network.train()


def _calibration(network: Any, recipe: TaskRecipe, sets: TaskSets) -> Iterable[Tensor]:
    step = max(1, len(sets.train) // CALIBRATION)
    images = [sets.train[i][0] for i in range(0, len(sets.train), step)]
    if recipe.task == "segmentation":
        return list(torch.split(standardised(torch.stack(images)), 16))
    # pictures of several sizes are filled up to the largest of their batch, as in training
    batches: list[Tensor] = [
        network.transform(images[i : i + 16])[0].tensors for i in range(0, len(images), 16)
    ]
    return batches
