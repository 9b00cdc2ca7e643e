"""Model configurations with an operator at the paper's positions.

Those of YOLOv5, YOLOv8, YOLO11 and newer are made from the configuration that the installed
ultralytics ships: its six stride-2 3x3 convolutions behind the stem become the operator. That of
YOLOv7-tiny, which ultralytics does not ship, is in this package: the second 3x3 convolution of each
of the four aggregation blocks of the backbone becomes the operator.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.integrations.ultralytics.version import check_version
from rfaconv.variants import OPERATORS

NETWORKS = ("yolov5n", "yolov5s", "yolov7-tiny", "yolov8n", "yolo11n", "yolo26n")
"""Networks whose positions are tested; other sizes (``yolov8s``) are taken too."""

_TINY = Path(__file__).with_name("yolov7-tiny.yaml")
_TINY_POSITIONS = (5, 12, 19, 26)
_DOWNSAMPLINGS = 6
_NAME = re.compile(r"(?P<network>yolo[\w.-]*?)-(?P<operator>[A-Za-z]+)\.ya?ml")

Loader = Callable[[Any], dict[str, Any]]


def model_config(network: str, operator: str | None, *, _load: Loader | None = None) -> Any:
    """Configuration of a network with ``operator`` at the paper's positions.

    Args:
        network: one of :data:`NETWORKS`, another size of it, or a path to a model YAML whose
            down-samplings are meant.
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``; None for the plain
            network.

    Returns:
        A mapping as ``ultralytics.nn.tasks.DetectionModel`` takes it.

    Raises:
        InvalidArgument: an unknown name, or a network without stride-2 3x3 convolutions.

    Example:
        >>> config = model_config("yolov8n", "rfa")  # doctest: +SKIP
        >>> config["backbone"][1]  # doctest: +SKIP
        [-1, 1, 'RFAConv', [128, 3, 2]]

    Source: paper, section 4.2; the positions of the published configurations.
    """
    check_version()
    if operator is not None and operator not in OPERATORS:
        raise unknown_name("operator", operator, OPERATORS)
    load = _load or import_module("ultralytics.nn.tasks").yaml_model_load
    if network == "yolov7-tiny":
        config = load(_TINY)
        rows = [*config["backbone"], *config["head"]]
        positions = [rows[index] for index in _TINY_POSITIONS]
    else:
        name = network if network.endswith((".yaml", ".yml")) else f"{network}.yaml"
        try:
            config = load(name)
        except FileNotFoundError as error:
            raise unknown_name("network", network, NETWORKS) from error
        rows = [*config["backbone"], *config["head"]]
        positions = [row for row in rows[1:] if row[2] == "Conv" and row[3][1:3] == [3, 2]]
        if len(positions) < 1 or (network in NETWORKS and len(positions) != _DOWNSAMPLINGS):
            expected = "a network with rows [-1, 1, Conv, [c, 3, 2]] behind its stem"
            raise InvalidArgument("network", expected, repr(network))
    config = copy.deepcopy({**config, "backbone": config["backbone"], "head": config["head"]})
    if operator is not None:
        names = import_module("rfaconv.integrations.ultralytics.layers").LAYER_NAMES
        chosen = {id(row) for row in positions}
        replaced = [
            [*row[:2], names[operator], row[3]] if id(row) in chosen else row for row in rows
        ]
        depth = len(config["backbone"])
        config["backbone"] = copy.deepcopy(replaced[:depth])
        config["head"] = copy.deepcopy(replaced[depth:])
    return config


def load_named(path: Any, original: Loader) -> dict[str, Any]:
    """The ``yaml_model_load`` of ultralytics, which also knows ``NETWORK-OPERATOR.yaml``.

    A file of that name goes before.
    """
    path = Path(path)
    match = _NAME.fullmatch(path.name)
    if path.name in ("yolov7-tiny.yaml", "yolov7-tiny.yml") and not path.exists():
        return original(_TINY)
    if match is None or path.exists():
        return original(path)
    network, operator = match["network"], match["operator"].lower()
    if operator in OPERATORS:
        config: dict[str, Any] = model_config(network, operator, _load=original)
        config["yaml_file"] = str(path)
        return config
    try:
        return original(path)
    except FileNotFoundError as error:
        raise unknown_name("operator", operator, OPERATORS) from error


def write_model_yaml(
    network: str, operator: str | None, folder: Path | str = ".", *, standalone: bool = False
) -> Path:
    """Writes the configuration as a file for ``YOLO(...)`` or the command ``yolo``.

    Args:
        network: as of :func:`model_config`.
        operator: as of :func:`model_config`.
        folder: where to; the file is ``NETWORK-OPERATOR.yaml``.
        standalone: registers the operators when ultralytics reads the file, so that the plain
            command ``yolo`` can train it. This uses that ultralytics evaluates the key
            ``activation``; with ``ULTRALYTICS_SAFE_LOAD=1`` it refuses to.

    Returns:
        The file.

    Raises:
        InvalidArgument: as of :func:`model_config`.
    """
    import yaml

    from rfaconv.files import write_atomic

    config = model_config(network, operator)
    config = {key: value for key, value in config.items() if key not in ("yaml_file", "scale")}
    if standalone:
        # an activation of the network's own stays as it is
        own = config.get("activation", "torch.nn.SiLU()")
        config["activation"] = f"(__import__('rfaconv.integrations.ultralytics.layers'), {own})[1]"
    name = network if operator is None else f"{network}-{operator}"
    target = Path(folder) / f"{name}.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, yaml.safe_dump(config, sort_keys=False, default_flow_style=None))
    return target
