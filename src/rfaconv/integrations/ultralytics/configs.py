"""Model configurations with an operator at the paper's positions or others.

Those of YOLOv5, YOLOv8, YOLO11, YOLO26, RT-DETR and their kin are made from the configuration that
the installed ultralytics ships. The paper's positions (``down``) are its stride-2 3x3 convolutions
behind the stem. That of YOLOv7-tiny, which ultralytics does not ship, is in this package: there the
second 3x3 convolution of each of the four aggregation blocks of the backbone becomes the operator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.integrations.ultralytics.names import FEATURES, HEAD_NAMES, LAYER_NAMES
from rfaconv.integrations.ultralytics.networks import (
    POSITIONS,
    network_name,
    parse_network,
    parse_positions,
)
from rfaconv.integrations.ultralytics.version import check_version
from rfaconv.variants import OPERATORS

NETWORKS = ("yolov5n", "yolov5s", "yolov7-tiny", "yolov8n", "yolo11n", "yolo26n")
"""Networks whose positions are tested; other sizes (``yolov8s``) are taken too."""

TINY = Path(__file__).with_name("yolov7-tiny.yaml")
_TINY_POSITIONS = (5, 12, 19, 26)
_DOWNSAMPLINGS = 6
_BLOCKS = ("C3", "C2f", "C3k2")

Loader = Callable[[Any], dict[str, Any]]


def model_config(
    network: str,
    operator: str | None,
    at: str | tuple[str, ...] = "down",
    *,
    _load: Loader | None = None,
) -> Any:
    """Configuration of a network with ``operator`` in it.

    Args:
        network: one of :data:`NETWORKS`, another network of ultralytics (``yolo11s-seg``,
            ``rtdetr-l``), or a path to a model YAML.
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``; None for the plain
            network; ``features``, the receptive-field features without a gate, at ``down`` alone.
        at: ``down`` for the paper's positions, the down-samplings; ``blocks`` for the bottlenecks
            of C3, C2f and C3k2; ``head`` for the convolution towers of the head; several with
            commas, or ``all``.

    Returns:
        A mapping as ``ultralytics.nn.tasks.DetectionModel`` takes it.

    Raises:
        InvalidArgument: an unknown name, or a network that has nothing at these positions.

    Example:
        >>> config = model_config("yolov8n", "rfa")  # doctest: +SKIP
        >>> config["backbone"][1]  # doctest: +SKIP
        [-1, 1, 'RFAConv', [128, 3, 2]]

    Source: paper, section 4.2; the positions of the published configurations.
    """
    check_version()
    if operator == "features" and parse_positions(at) != ("down",):
        raise InvalidArgument("at", "down with features", at)
    if operator not in (None, "features", *OPERATORS):
        raise unknown_name("operator", operator, OPERATORS)
    load = _load or import_module("ultralytics.nn.tasks").yaml_model_load
    config = load(model_file(network, load))
    config = copy.deepcopy({**config, "backbone": config["backbone"], "head": config["head"]})
    if operator is None:
        return config
    depth = len(config["backbone"])
    rows = [*config["backbone"], *config["head"]]
    for index, name in new_names(network, rows, operator, parse_positions(at)).items():
        rows[index][2] = name
    return {**config, "backbone": rows[:depth], "head": rows[depth:]}


def model_file(network: str, load: Loader) -> Path:
    """What ``yaml_model_load`` takes for a network.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if network == TINY.stem:
        return TINY
    name = network if network.endswith((".yaml", ".yml")) else f"{network_name(network)}.yaml"
    try:
        load(name)
    except FileNotFoundError as error:
        raise _unknown_network(network, load) from error
    return Path(name)


def _unknown_network(network: str, load: Loader) -> InvalidArgument:
    """Names the network that the beginning of a name means, or those that are near."""
    base, *words = network.split("-")
    for count in reversed(range(len(words))):
        known = "-".join([network_name(base), *words[:count]])
        try:
            load(f"{known}.yaml")
        except FileNotFoundError:
            continue
        places = ", ".join((*POSITIONS, "all"))
        expected = f"{known}, with a task (seg, pose, obb, cls) or a position ({places}) behind it"
        return InvalidArgument("network", expected, repr(network))
    return unknown_name("network", network, (*NETWORKS, "rtdetr-l", "rtdetr-resnet50"))


def new_names(network: str, rows: list[Any], operator: str, at: tuple[str, ...]) -> dict[int, str]:
    """The rows that change, by their number, and what they name then.

    Raises:
        InvalidArgument: one of the positions does not exist in the network.
    """
    found = {
        "down": _downsamplings(network, rows),
        "blocks": [i for i, row in enumerate(rows) if row[2] in _BLOCKS],
        "head": [i for i, row in enumerate(rows) if row[2] in HEAD_NAMES],
    }
    expected = {
        "down": "a network with rows [-1, 1, Conv, [c, 3, 2]] behind its stem",
        "blocks": f"a network with rows of {', '.join(_BLOCKS)} for blocks",
        "head": f"a network that ends in one of {', '.join(HEAD_NAMES)} for head",
    }
    missing = [place for place in at if not found[place]]
    # "all" is everything that there is
    if missing and (len(at) < len(found) or len(missing) == len(found)):
        raise InvalidArgument("network", expected[missing[0]], repr(network))
    names = {}
    for place in at:
        for index in found[place]:
            old = rows[index][2]
            layer = LAYER_NAMES.get(operator, FEATURES)
            names[index] = layer if old == "Conv" else f"{old}_{operator.upper()}"
    return names


def _downsamplings(network: str, rows: list[Any]) -> list[int]:
    if network == TINY.stem:
        return list(_TINY_POSITIONS)
    found = [i for i, row in enumerate(rows) if row[2] == "Conv" and row[3][1:3] == [3, 2] and i]
    if network in NETWORKS and len(found) != _DOWNSAMPLINGS:
        return []
    return found


def load_named(path: Any, original: Loader) -> dict[str, Any]:
    """The ``yaml_model_load`` of ultralytics, which also knows ``NETWORK-OPERATOR.yaml``.

    A file of that name goes before.
    """
    path = Path(path)
    if path.exists() or path.suffix not in (".yaml", ".yml"):
        return original(path)
    if path.stem == TINY.stem:
        return original(TINY)
    named = parse_network(path.stem)
    if named is None:
        try:
            return original(path)
        except FileNotFoundError:
            _explain(path, original)
            raise
    config: dict[str, Any] = model_config(named.network, named.operator, named.at, _load=original)
    config["yaml_file"] = str(path)
    return config


def _explain(path: Path, load: Loader) -> None:
    """Says which word of a name is not known; does nothing for other names."""
    network, *words = path.stem.split("-")
    if network.lower() not in ("rtdetr",) and not network.lower().startswith("yolo"):
        return
    for count in range(len(words)):
        try:
            load(f"{'-'.join([network_name(network), *words[:count]])}.yaml")
        except FileNotFoundError:
            continue
        raise unknown_name("operator", words[-1], OPERATORS)
