"""What is exported: a network with what its user must know of the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument


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
    """

    network: nn.Module
    name: str = "network"
    input_size: tuple[int, int] = (224, 224)
    channels: int = 3
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

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
            checkpoints; a ``.safetensors`` of :func:`rfaconv.predict.save_predictor` or of
            :func:`rfaconv.export.save_pretrained`'s folder; or a name for ``timm.create_model``.
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
        tuple(config.get("label_names") or ()), tuple(config["mean"]), tuple(config["std"]),
    )  # fmt: skip


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
        data.classes, data.mean, data.std,
    )  # fmt: skip


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
