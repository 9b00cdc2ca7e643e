"""From a recipe to its images, its network and its schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from rfaconv.data import DataSpec, ImageData, ImageSet, Normalize, load_data
from rfaconv.data.decoding import FileImages
from rfaconv.data.folder import Progress
from rfaconv.data.shards import ShardImages
from rfaconv.errors import InvalidArgument
from rfaconv.recipes import Recipe, read_recipe
from rfaconv.training.module import Schedule
from rfaconv.training.networks import PLAIN, build_network
from rfaconv.training.run_folder import RECIPE_FILE
from rfaconv.training.seeds import derive

CALIBRATION = 256


def recipe_data(recipe: Recipe, progress: Progress | None = None) -> ImageData:
    """The images of a recipe.

    Raises:
        InvalidArgument: they are missing or damaged.
    """
    part = recipe.data
    spec = DataSpec(
        part.name, part.image_size, Path(part.root), part.download, part.strict, part.limit,
        part.split_seed, part.part,
    )  # fmt: skip
    data = load_data(spec, progress)
    if part.augment != "resized-crop":
        return data
    return crops(data, next(iter(part.evaluation.values())), derive(recipe.seed, "crops"))


def crops(data: ImageData, resize: int, seed: int = 0) -> ImageData:
    """Random crops to train on, decoded anew in every epoch; the resized centre to validate."""
    size = data.image_size
    train = v2.Compose(
        [v2.RGB(), v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(),
         v2.PILToTensor()]
    )  # fmt: skip
    val = resized_centre(data.val, size, resize)
    if isinstance(data.train, ShardImages):
        return dataclasses.replace(
            data, train=dataclasses.replace(data.train, transform=train), val=val
        )
    assert isinstance(data.train, FileImages)
    return dataclasses.replace(data, train=FileImages(data.train.files, train, seed), val=val)


def resized_centre(images: ImageSet, size: int, resize: int) -> ImageSet:
    """The same images with the shorter side at ``resize`` and the centre of ``size`` cut out.

    Raises:
        InvalidArgument: the images lie in memory, in one size.
    """
    cut = v2.Compose(
        [v2.RGB(), v2.Resize(resize, antialias=True), v2.CenterCrop(size), v2.PILToTensor()]
    )
    if isinstance(images, ShardImages):
        return dataclasses.replace(images, transform=cut)
    if isinstance(images, FileImages):
        return FileImages(images.files, cut)
    expected = "shards, or a folder too large for memory (2 GiB decoded), with resized-crop"
    raise InvalidArgument("data.name", expected, "images in memory")


def recipe_schedule(recipe: Recipe) -> Schedule:
    """Optimizer and learning rate of a recipe."""
    rate, sgd = recipe.learning_rate, recipe.optimizer
    return Schedule(
        recipe.epochs, recipe.batch_size, sgd.lr, sgd.weight_decay, sgd.momentum, sgd.nesterov,
        recipe.label_smoothing, rate.name, rate.milestones, rate.gamma, rate.warmup_epochs,
    )  # fmt: skip


def recipe_network(recipe: Recipe, data: ImageData, *, warm: bool = True) -> nn.Module:
    """The network of a recipe, initialised.

    With ``warm`` from ``model.warm_start`` if it has one; else of the same structure.

    Raises:
        InvalidArgument: an unknown name, or weights that do not fit.
    """
    part = recipe.model
    if part.warm_start and not warm:
        return _structure(recipe, data)
    source = part.warm_start
    network = build_network(
        part.name,
        PLAIN if source else part.operator,
        classes=len(data.classes),
        channels=data.channels,
        image_size=data.image_size,
        seed=derive(recipe.seed, "network"),
        backend=part.backend,
        kernel_size=part.kernel_size,
    )
    if source:
        _load(network, Path(source).expanduser(), part.reset_head)
        if part.operator != PLAIN:
            _convert(network, part.operator, data)
        for module in network.modules():
            if hasattr(module, "backend"):
                setattr(module, "backend", part.backend)  # noqa: B010
    return network


def load_weights(network: nn.Module, path: Path, reset_head: bool = False) -> None:
    """Loads a safetensors file into ``network``.

    Raises:
        InvalidArgument: the file cannot be read or does not fit; the first misfit is named.
    """
    state = read_weights(path)
    own = network.state_dict()
    if reset_head:
        state |= {key: own[key] for key in own if key.startswith("fc.")}
    for key in [*own, *state]:
        if key not in state or key not in own or own[key].shape != state[key].shape:
            raise InvalidArgument("weights", f"this network's tensors, {key} among them", str(path))
    network.load_state_dict(state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InvalidArgument: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidArgument("weights", "a safetensors file", f"{path} ({error})") from error
    return state


def read_run(run: Path) -> Recipe:
    """The resolved recipe that a run was started with."""
    if not (run / RECIPE_FILE).is_file():
        raise InvalidArgument("run", f"the folder of a run, with {RECIPE_FILE}", str(run))
    return read_recipe(str(run / RECIPE_FILE))


def _structure(recipe: Recipe, data: ImageData) -> nn.Module:
    """The network as a warm start leaves it (converted layers have a bias), without its numbers."""
    plain = recipe.model.model_copy(update={"operator": PLAIN, "warm_start": None})
    network = recipe_network(recipe.model_copy(update={"model": plain}), data)
    if recipe.model.operator != PLAIN:
        _convert(network, recipe.model.operator, data)
    return network


def _load(network: nn.Module, source: Path, reset_head: bool) -> None:
    from rfaconv.training.saves import WEIGHTS, best_good

    load_weights(network, best_good(source) / WEIGHTS if source.is_dir() else source, reset_head)


def _convert(network: nn.Module, operator: str, data: ImageData) -> None:
    from rfaconv.surgery import convert_
    from rfaconv.surgery.where import basic_block_conv1, bottleneck_3x3

    count = min(CALIBRATION, len(data.train))
    if isinstance(data.train, ShardImages):
        chosen = data.train.first(count).images
    else:
        index = torch.linspace(0, len(data.train) - 1, count).long().tolist()
        chosen = data.train.__getitems__(index)[0]
    images = Normalize(data.mean, data.std)(chosen)
    network.eval()
    convert_(network, operator, where=basic_block_conv1 | bottleneck_3x3, init="preserve",
             calibration=[images])  # fmt: skip
    network.train()
