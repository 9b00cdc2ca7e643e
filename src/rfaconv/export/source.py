"""What is exported: a network with what its user must know of the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn._convolution import AttentionConv
from rfaconv.variants import OPERATORS

if TYPE_CHECKING:
    from rfaconv.recipes.schema import Model


@dataclass(frozen=True)
class Source:
    """A network and its metadata.

    Attributes:
        network: from pictures (B, channels, H, W) to one tensor.
        name: of the network, for the file.
        input_size: height and width that it was trained for, in pixels.
        channels: of the pictures.
        classes: names, or empty.
        mean: per channel, of pictures in [0, 1]; empty where it is not known.
        std: per channel.
        architecture: by which ``timm.create_model`` makes the network; empty where none does.
        arguments: of ``timm.create_model``, beside those that it records itself.
    """

    network: nn.Module
    name: str = "network"
    input_size: tuple[int, int] = (224, 224)
    channels: int = 3
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    architecture: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """What is written into every exported file: strings, lists as JSON."""
        import rfaconv

        found = {
            "rfaconv.version": rfaconv.__version__,
            "rfaconv.name": self.name,
            "rfaconv.input_size": json.dumps(list(self.input_size)),
        }
        for key, values in (("classes", self.classes), ("mean", self.mean), ("std", self.std)):
            if values:
                found[f"rfaconv.{key}"] = json.dumps(list(values), ensure_ascii=False)
        return found


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
    if path.is_dir() and (path / "config.json").is_file():
        source = _timm(f"local-dir:{path.resolve()}", path.name, True)
    elif path.is_dir():
        source = _run(path)
    elif path.is_file():
        source = _predictor(path)
    else:
        source = _timm(str(model), str(model).rpartition("/")[2], pretrained)
    if size is None:
        return source
    return Source(**{**vars(source), "input_size": (size[0], size[1])})


def _timm(name: str, stem: str, pretrained: bool) -> Source:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    if ":" not in name and not timm.is_model(name):
        expected = "a folder of a run, a .safetensors file or a network of timm"
        raise InvalidArgument("model", expected, f"{name!r} ({_near(name)})")
    network: Any = timm.create_model(name, pretrained=pretrained)
    config = network.pretrained_cfg
    _, height, width = config["input_size"]
    return Source(
        network, stem, (height, width), config["input_size"][0],
        tuple(config.get("label_names") or ()), *normalisation(config, config["input_size"][0]),
        config.get("architecture") or "",
    )  # fmt: skip


def normalisation(
    config: Mapping[str, Any], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of timm's configuration; empty where they are those of other pictures."""
    mean, std = tuple(config.get("mean") or ()), tuple(config.get("std") or ())
    return (mean, std) if len(mean) == len(std) == channels else ((), ())


def _near(name: str) -> str:
    import difflib

    import timm

    near = difflib.get_close_matches(name, timm.list_models(), n=2)
    return f"did you mean {' or '.join(near)}?" if near else "no such file, no such network"


def _run(path: Path) -> Source:
    from rfaconv.training.build import load_weights, read_run, recipe_data, recipe_network
    from rfaconv.training.saves import MANIFEST, WEIGHTS, best_good

    single = (path / MANIFEST).is_file()
    run = path.parent.parent if single else path
    recipe = read_run(run)
    data = recipe_data(recipe)
    network = recipe_network(recipe, data, warm=False)
    load_weights(network, (path if single else best_good(run)) / WEIGHTS)
    return Source(
        network, run.resolve().name, (data.image_size, data.image_size), data.channels,
        data.classes, data.mean, data.std, *_fitted(recipe.model, network, data.image_size),
    )  # fmt: skip


def _fitted(part: Model, network: nn.Module, size: int) -> tuple[str, dict[str, Any]]:
    """By what timm builds a run's network: name and arguments; nothing where it does not."""
    from rfaconv.models.fitted import LAYOUTS, PLAIN

    known = part.name in LAYOUTS and part.operator in (PLAIN, *OPERATORS)
    if not known or part.kernel_size is not None:
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
