"""What a command may be given as a model: a run, a folder of a network, a file, a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.reading import CONFIG
from rfaconv.export.source import Source, folder_source, named_source
from rfaconv.nn._convolution import AttentionConv
from rfaconv.variants import OPERATORS

if TYPE_CHECKING:
    from rfaconv.recipes.classify import Model


def load_source(
    model: str | Path, *, size: Sequence[int] | None = None, pretrained: bool = False
) -> Source:
    """Reads a network by the name or the place that a user gives.

    Args:
        model: folder of a run of ``rfaconv train`` (its best checkpoint) or one of its
            checkpoints; a ``.safetensors`` of :func:`rfaconv.predict.save_predictor`; a folder of
            :func:`rfaconv.export.save_pretrained`; or a name for ``timm.create_model``.
        size: height and width, in pixels; None for the network's own.
        pretrained: whether timm may fetch the weights of a named network.

    Raises:
        InvalidArgument: it is none of these.

    Example:
        >>> load_source("rfa_resnet18").input_size
        (224, 224)
    """
    path = Path(model)
    if path.is_dir() and (path / CONFIG).is_file():
        source = folder_source(path)
    elif path.is_dir():
        source = _run(path)
    elif path.is_file():
        source = _predictor(path)
    else:
        source = named_source(str(model), str(model).rpartition("/")[2], pretrained)
    if size is None:
        return source
    return Source(**{**vars(source), "input_size": (size[0], size[1])})


def _run(path: Path) -> Source:
    from rfaconv.lab.building import read_run, recipe_data, recipe_network
    from rfaconv.training.saves import MANIFEST, WEIGHTS, best_good

    single = (path / MANIFEST).is_file()
    run = path.parent.parent if single else path
    recipe = read_run(run)
    data = recipe_data(recipe)
    network = recipe_network(recipe, data, (path if single else best_good(run)) / WEIGHTS)
    return Source(
        network, run.resolve().name, (data.image_size, data.image_size), data.channels,
        data.classes, data.mean, data.std, *_fitted(recipe.model, network, data.image_size),
    )  # fmt: skip


def _fitted(part: Model, network: nn.Module, size: int) -> tuple[str, dict[str, Any]]:
    """By what timm builds a run's network: name and arguments; nothing where it does not."""
    from rfaconv.models.fitted import LAYOUTS, PLAIN

    known = part.name in LAYOUTS and part.operator in (PLAIN, *OPERATORS)
    if not known or part.kernel_size is not None or part.width != 1:
        return "", {}
    layers: list[Any] = [m for m in network.modules() if isinstance(m, AttentionConv)]
    bias = any(layer.bias is not None for layer in layers)
    made = {"layout": part.name, "operator": part.operator, "image_size": size, "bias": bias}
    return "fitted_resnet", made


def _predictor(path: Path) -> Source:
    from rfaconv.predict.networks import read_network

    network, about = read_network(path)
    size = about["settings"].get("size") or 224
    if about["task"] == "detect":
        reason = "a detector: its boxes are chosen by code that no exporter here takes"
        raise InvalidArgument("model", "a classifier or a network of masks", reason)
    if about["task"] == "segment":
        # the network takes pictures * 4 - 2: (x - 1/2) / (1/4)
        mean, std = (0.5,) * 3, (0.25,) * 3
    else:
        from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return Source(network, path.stem, (size, size), 3, tuple(about["names"]), mean, std)
