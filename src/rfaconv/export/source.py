"""What is exported: a network with what its user must know of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument


@dataclass(frozen=True)
class Source:
    """A network and its metadata.

    Attributes:
        network: from images (B, channels, H, W) to one tensor.
        name: of the network, for the file.
        input_size: height and width that it was trained for, in pixels.
        channels: of the images.
        classes: names, or empty.
        mean: per channel, of images in [0, 1]; empty where it is not known.
        std: per channel.
        architecture: by which ``timm.create_model`` makes the network; empty where none does.
        arguments: of ``timm.create_model``, beside those that it records itself.
        task: ``classify``, ``segment``, ``detect``, or empty where nobody has said.
        resize: how an image becomes an input: ``crop`` (the shorter side to ``input_size``, then
            the centre), ``stretch`` (to ``input_size``), ``pad`` (its own size), ``shorter`` (the
            shorter side to ``input_size``, the longer to twice that at most), ``fit`` (into
            ``input_size``); empty for ``crop``, and ``stretch`` where the output is a map.
        multiple: sides of an input are multiples of this; an image is filled up at its right and
            its bottom.
        least: sides of the sample by which an export with free sizes is traced; a smaller map has
            a side of one, which a tracer takes for a constant.
        choice: of a detector whose output is all boxes: by which numbers some are chosen.
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
    task: str = ""
    resize: str = ""
    multiple: int = 1
    least: int = 1
    choice: Mapping[str, float] = field(default_factory=dict)

    @property
    def sample_size(self) -> tuple[int, int]:
        """``input_size`` filled up to multiples of ``multiple``."""
        high, wide = (side + -side % self.multiple for side in self.input_size)
        return high, wide

    def metadata(self, fixed: bool = False) -> dict[str, str]:
        """What is written into every exported file: strings, lists as JSON.

        Args:
            fixed: the file takes ``sample_size`` alone.
        """
        import rfaconv

        resize = {"pad": "stretch", "shorter": "fit"}.get(self.resize) if fixed else None

        found = {
            "rfaconv.version": rfaconv.__version__,
            "rfaconv.name": self.name,
            "rfaconv.input_size": json.dumps(list(self.input_size)),
        }
        for key, values in (("classes", self.classes), ("mean", self.mean), ("std", self.std)):
            if values:
                found[f"rfaconv.{key}"] = json.dumps(list(values), ensure_ascii=False)
        for key, value in (("task", self.task), ("resize", resize or self.resize)):
            if value:
                found[f"rfaconv.{key}"] = value
        if self.multiple > 1:
            found["rfaconv.multiple"] = str(self.multiple)
        if self.choice:
            found["rfaconv.choice"] = json.dumps(dict(self.choice))
        return found


def named_source(name: str, stem: str, pretrained: bool = False) -> Source:
    """A network by a name for ``timm.create_model``.

    Args:
        name: of the network.
        stem: what files of it are called.
        pretrained: whether timm may fetch its weights.

    Raises:
        InvalidArgument: timm knows no such network.
    """
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


def folder_source(folder: Path) -> Source:
    """The network of a folder of :func:`rfaconv.export.save_pretrained`.

    Raises:
        InvalidArgument: it is none, or is damaged.
    """
    from rfaconv.export.reading import from_pretrained, read_config

    config = read_config(folder)
    network: Any = from_pretrained(folder)
    known = network.pretrained_cfg
    channels, height, width = known.get("input_size") or (3, 224, 224)
    own = config.get("rfaconv") or {}
    if "library" in own:
        library, name, arguments = own["library"], own["name"], own["arguments"]
        architecture = name if library == "timm" else f"{library}:{name}"
    else:
        architecture = config.get("architecture") or ""
        arguments = config.get("model_args") or {}
    return Source(
        network, folder.name, (height, width), channels, tuple(known.get("label_names") or ()),
        *normalisation(known, channels), architecture, arguments,
    )  # fmt: skip


def normalisation(
    config: Mapping[str, Any], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of timm's configuration; empty if their number is not the number of channels."""
    mean, std = tuple(config.get("mean") or ()), tuple(config.get("std") or ())
    return (mean, std) if len(mean) == len(std) == channels else ((), ())


def _near(name: str) -> str:
    import difflib

    import timm

    near = difflib.get_close_matches(name, timm.list_models(), n=2)
    return f"did you mean {' or '.join(near)}?" if near else "no such file, no such network"
