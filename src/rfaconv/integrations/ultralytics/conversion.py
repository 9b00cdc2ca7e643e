"""Puts an operator into a YOLO that is there already, and keeps what it learned."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.integrations import IntegrationError, register
from rfaconv.integrations.ultralytics.configs import TINY, new_names
from rfaconv.integrations.ultralytics.networks import parse_positions
from rfaconv.surgery import ConversionReport, convert_, where


def convert(
    yolo: Any,
    operator: str,
    init: str = "preserve",
    calibration: Iterable[Any] | Tensor | None = None,
    *,
    at: str | tuple[str, ...] = "down",
) -> ConversionReport:
    """Replaces convolutions of a ``YOLO`` by an operator, in place, so that it can be trained on.

    :func:`rfaconv.convert_` does the work. ultralytics builds a model anew from its configuration
    when a training starts, so the configuration is changed too: the converted layers, and with
    ``init="preserve"`` what the network computed before, reach the training.

    Args:
        yolo: an ``ultralytics.YOLO``, or its ``model``; not fused.
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``.
        init: as of :func:`rfaconv.convert_`.
        calibration: as of :func:`rfaconv.convert_`.
        at: ``down``, ``blocks``, ``head``, several with commas, or ``all``, as of
            :func:`model_config`.

    Returns:
        What was replaced, what was skipped and why.

    Raises:
        InvalidArgument: ``yolo`` is none, or is fused, or an argument is bad.
        IntegrationError: ultralytics does not take the operators.
    """
    register("ultralytics")
    operators = import_module("rfaconv.integrations.ultralytics.operators")
    parsing = import_module("rfaconv.integrations.ultralytics.parsing")
    network = yolo.model if hasattr(yolo, "ckpt") else yolo
    config = getattr(network, "yaml", None)
    if not isinstance(network, nn.Module) or not isinstance(config, dict):
        expected = "an ultralytics.YOLO with a PyTorch model"
        raise InvalidArgument("yolo", expected, f"a {type(yolo).__name__}")
    if network.is_fused():  # type: ignore[operator]  # of ultralytics' BaseModel
        raise InvalidArgument("yolo", "a model before fuse()", "a fused one")
    rows = [*config["backbone"], *config["head"]]
    tiny = str(config.get("yaml_file", "")).endswith(TINY.name)
    name = TINY.stem if tiny else "the model"
    names = (
        new_names(name, rows, operator, parse_positions(at))
        if operator in (operators.LAYERS)
        else {}
    )
    layers = [c for i in names for c in _convs(network.model[i], operators)]  # type: ignore[index,arg-type]
    chosen = {id(layer.conv) for layer in layers}
    test = where.Predicate(lambda site: id(site.module) in chosen, f"at {at}")
    report = convert_(network, operator, test, init, calibration)
    left = sum(id(layer.conv) in chosen for layer in layers)
    if left:
        raise IntegrationError(f"{left} of {len(layers)} convolutions cannot be replaced: {report}")
    for layer in layers:
        # the same module under the class that the configuration will build
        layer.__class__ = operators.LAYERS[operator]
        if layer.conv.bias is None:
            layer.conv.bias = nn.Parameter(torch.zeros_like(layer.conv.weight[:, 0, 0, 0]))
    for index, new in names.items():
        row: Any = network.model[index]  # type: ignore[index]
        row.__class__ = operators.MODULES[new]
        parsing.refresh(row, f"{operators.HOME}.{new}")
        rows[index][2] = new
    if hasattr(yolo, "ckpt") and init == "preserve" and not yolo.ckpt:
        yolo.ckpt = {"model": network}  # tells ultralytics that there are weights to keep
    return report


def _convs(row: nn.Module, operators: Any) -> list[Any]:
    """The Convs of a row that its operator form replaces."""
    if type(row) is operators.Conv:
        return [row]
    found = operators.tower_convs if hasattr(row, "nl") else operators.bottleneck_convs
    return [conv for conv in found(row) if type(conv) is operators.Conv]
