"""Checkpoints of ultralytics: read without running what they say, and written anew."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.integrations import register
from rfaconv.integrations.ultralytics.configs import model_config
from rfaconv.integrations.ultralytics.networks import parse_network
from rfaconv.official.forks import adapt, follow
from rfaconv.official.inert import Inert, children, named, named_modules, read_inert, state_of
from rfaconv.official.layers import clean_keys

_CLASSES = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "classify": "ClassificationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
}
_SETTINGS = ("task", "data", "imgsz", "single_cls")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds of a network.

    Attributes:
        state: its tensors, float32.
        config: its model YAML; None if the file is a state dict.
        names: of the classes; None if the file does not say.
        settings: of its training, those that ultralytics keeps with a model.
        layers: the classes of its modules by their names in the network, without their modules.
        unknown: the full names of all classes that the file names.
    """

    state: dict[str, Tensor]
    config: dict[str, Any] | None = None
    names: dict[int, str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Reads a ``.pt`` of ultralytics or of a fork; nothing in it is run.

    Raises:
        InvalidArgument: the file holds no network; what it holds is named.
    """
    content, unknown = read_inert(path)
    settings: Any = {}
    network = content
    if isinstance(content, dict):
        settings = content.get("train_args") or {}
        network = next(
            (
                content[k]
                for k in ("ema", "model", "state_dict", "model_state_dict")
                if content.get(k)
            ),
            content,
        )
    if (
        isinstance(network, Mapping)
        and network
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in network.items())
    ):
        return Checkpoint(_floats(clean_keys(network)), unknown=unknown)
    if not children(network):
        expected = "a checkpoint with a network of ultralytics, or a state dict"
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InvalidArgument("checkpoint", expected, f"{Path(path).name} with {held}")
    _check_features(network)
    config = getattr(network, "yaml", None)
    given = getattr(network, "names", None)
    settings = settings if isinstance(settings, dict) else vars(settings)
    return Checkpoint(
        _floats(clean_keys(state_of(network))),
        copy.deepcopy(config) if isinstance(config, dict) else None,
        _names(given),
        {k: settings[k] for k in _SETTINGS if isinstance(settings.get(k), str | int | bool)},
        {name: named(module) for name, module in named_modules(network)},
        unknown,
    )


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _names(given: Any) -> dict[int, str] | None:
    if isinstance(given, list | tuple):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not given:
        return None
    return {int(k): str(v) for k, v in given.items()}


def _check_features(network: Inert) -> None:
    """Refuses layers whose features are not the published ones: their keys would look the same."""
    for prefix, module in named_modules(network):
        parts = children(module)
        for name in ("generate_feature", "generate"):
            kinds = [named(part) for part in children(parts.get(name)).values()]
            if kinds and kinds[-1] != "ReLU":
                expected = "features that end in ReLU, as published"
                raise InvalidArgument(f"layer {prefix}.{name}", expected, ", ".join(kinds))


def build(checkpoint: Checkpoint, network: str | None = None) -> Any:
    """Builds the network of a checkpoint from its configuration, and loads it.

    Args:
        checkpoint: of :func:`read_checkpoint`.
        network: a name such as ``yolov8n-rfa`` for a checkpoint without a configuration; the number
            of classes is taken from the tensors.

    Returns:
        A ``DetectionModel``, ``SegmentationModel``, ... in evaluation mode.

    Raises:
        InvalidArgument: a module of the configuration is not known, or tensors do not fit.
    """
    register("ultralytics")
    tasks = import_module("ultralytics.nn.tasks")
    config = copy.deepcopy(checkpoint.config) if network is None else _named_config(network)
    if config is None:
        expected = "a name such as yolov8n-rfa, as the file does not say what network it holds"
        raise InvalidArgument("network", expected, "None")
    if network is not None:
        config["nc"] = _classes(checkpoint.state, config["nc"])
    elif checkpoint.names is not None:
        config["nc"] = len(checkpoint.names)
    task = tasks.guess_model_task(config)
    if task not in _CLASSES:
        raise InvalidArgument("checkpoint", f"a task of {', '.join(_CLASSES)}", repr(task))
    model = getattr(tasks, _CLASSES[task])(config, ch=config.get("channels", 3), verbose=False)
    state, tails = adapt(model, checkpoint.state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        shown = "; ".join(line[:200] for line in lines[:3])
        raise InvalidArgument("checkpoint", f"the tensors of its {task} network", shown) from error
    follow(model, tails)
    if checkpoint.names is not None:
        model.names = checkpoint.names
    model.task = task
    model.args = {**import_module("ultralytics.utils").DEFAULT_CFG_DICT, **checkpoint.settings}
    model.args["task"] = task
    return model.eval()


def _named_config(network: str) -> Any:
    named = parse_network(network.removesuffix(".yaml"))
    if named is None:
        return model_config(network, None)
    return model_config(named.network, named.operator, named.at)


def _classes(state: Mapping[str, Tensor], otherwise: int) -> int:
    """The number of classes, from the bias of the last convolution of the head's class tower."""
    found = [k for k in state if k.endswith((".cv3.0.2.bias", ".linear.bias"))]
    return len(state[found[-1]]) if found else otherwise


def write_checkpoint(model: Any, path: Path | str) -> Path:
    """Writes a checkpoint that ``YOLO(path)`` opens, trains on and resumes from what it saves.

    Args:
        model: of :func:`build`.
        path: the file, a ``.pt``.

    Raises:
        InvalidArgument: another ending, or a folder that does not exist.
    """
    from rfaconv.files import write_atomic

    path = Path(path)
    if path.suffix != ".pt" or not path.parent.is_dir():
        raise InvalidArgument("out", "a .pt file in a folder that exists", str(path))
    keep = {"epoch": -1, "best_fitness": None, "ema": None, "updates": None, "optimizer": None}
    content = {
        **keep,
        "model": copy.deepcopy(model),
        "train_args": dict(model.args),
        "date": datetime.now().isoformat(),
        "version": import_module("ultralytics").__version__,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())
    return path
