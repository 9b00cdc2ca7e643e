"""Writes model YAMLs that people edit: the file of ultralytics with some rows changed.

Comments, layer numbers and the order of rows are those of the original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument
from rfaconv.integrations import IntegrationError
from rfaconv.integrations.ultralytics.configs import TINY, model_config, model_file
from rfaconv.integrations.ultralytics.networks import file_stem, network_name, parse_positions

_ROW = re.compile(r"(?P<start>\s*- \[(?:-?\d+|\[[^\]]*\]), *\d+, *)(?P<name>[\w.]+)(?P<rest>,.*)")
_ACTIVATION = re.compile(r"activation:\s*(?P<own>[^#\n]*?)\s*(?P<comment>#.*)?")


def write_model_yaml(
    network: str,
    operator: str | None,
    folder: Path | str = ".",
    *,
    at: str | tuple[str, ...] = "down",
    standalone: bool = False,
) -> Path:
    """Writes the configuration as a file for ``YOLO(...)`` or the command ``yolo``.

    Args:
        network: as of :func:`model_config`.
        operator: as of :func:`model_config`.
        folder: where to; the file is ``NETWORK-OPERATOR.yaml``, or with the positions behind it
            ``NETWORK-OPERATOR-blocks.yaml``. The name tells ultralytics the size of the network.
        at: as of :func:`model_config`.
        standalone: registers the operators when ultralytics reads the file, so that the plain
            command ``yolo`` can train it. This uses that ultralytics evaluates the key
            ``activation``; with ``ULTRALYTICS_SAFE_LOAD=1`` it refuses to.

    Returns:
        The file.

    Raises:
        InvalidArgument: as of :func:`model_config`, or the file is there and was edited.
    """
    import yaml

    from rfaconv.files import write_atomic

    config = model_config(network, operator, at)
    text = _source(network).read_text(encoding="utf-8")
    text = _renamed(text, [row[2] for row in [*config["backbone"], *config["head"]]])
    if standalone:
        text = _standalone(text)
    written = yaml.safe_load(text)
    if any(written[part] != _plain(config)[part] for part in ("backbone", "head")):
        raise IntegrationError(f"the rows of {_source(network)} are not one a line")
    stem = Path(network).stem if network.endswith((".yaml", ".yml")) else network_name(network)
    target = Path(folder) / f"{file_stem(stem, operator, parse_positions(at))}.yaml"
    if target.exists() and target.read_bytes() != text.encode():
        expected = f"a folder without another {target.name}, such as one that was edited"
        raise InvalidArgument("folder", expected, str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, text)
    return target


def _source(network: str) -> Path:
    load = import_module("ultralytics.nn.tasks").yaml_model_load
    path = model_file(network, load)
    if path == TINY or path.is_file():
        return path
    checks = import_module("ultralytics.utils.checks")
    # as yaml_model_load does: yolov8n.yaml is yolov8.yaml of size n
    unified = re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", str(path))
    return Path(checks.check_yaml(str(path), hard=False) or checks.check_yaml(unified))


def _plain(config: Mapping[str, Any]) -> Any:
    import yaml

    return yaml.safe_load(yaml.safe_dump({k: config[k] for k in ("backbone", "head")}))


def _renamed(text: str, names: list[str]) -> str:
    """The text with the modules of its rows called ``names``, in order."""
    left = iter(names)
    lines = []
    for line in text.splitlines():
        match = _ROW.fullmatch(line)
        new = next(left, None) if match else None
        lines.append(f"{match['start']}{new}{match['rest']}" if match and new else line)
    return "\n".join(lines) + "\n"


def _standalone(text: str) -> str:
    own, lines = "torch.nn.SiLU()", []
    for line in text.splitlines():
        match = _ACTIVATION.fullmatch(line)
        if match:
            own = match["own"]  # an activation of the network's own stays as it is
        else:
            lines.append(line)
    call = f"(__import__('rfaconv.integrations.ultralytics.layers'), {own})[1]"
    place = next(i for i, line in enumerate(lines) if line.startswith("nc:")) + 1
    lines.insert(place, f'activation: "{call}" # registers the operators when it is read')
    return "\n".join(lines) + "\n"
