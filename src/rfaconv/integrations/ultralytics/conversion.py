"""Puts an operator into a YOLO that is there already, and keeps what it learned."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.integrations import register
from rfaconv.surgery import ConversionReport, Site, convert_, where


def convert(
    yolo: Any,
    operator: str,
    init: str = "preserve",
    calibration: Iterable[Any] | Tensor | None = None,
) -> ConversionReport:
    """Replaces the down-samplings of a ``YOLO``, in place, so that it can be trained on.

    :func:`rfaconv.convert_` does the work. ultralytics builds a model anew from its configuration
    when a training starts, so the configuration is changed too: the converted layers, and with
    ``init="preserve"`` what the network computed before, reach the training.

    Args:
        yolo: an ``ultralytics.YOLO``, or its ``model``; not fused.
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``.
        init: as of :func:`rfaconv.convert_`.
        calibration: as of :func:`rfaconv.convert_`.

    Returns:
        What was replaced, what was skipped and why.

    Raises:
        InvalidArgument: ``yolo`` is none, or is fused, or an argument is bad.
        IntegrationError: ultralytics does not take the operators.
    """
    register("ultralytics")
    layers = import_module("rfaconv.integrations.ultralytics.layers")
    network = yolo.model if hasattr(yolo, "ckpt") else yolo
    config = getattr(network, "yaml", None)
    if not isinstance(network, nn.Module) or not isinstance(config, dict):
        expected = "an ultralytics.YOLO with a PyTorch model"
        raise InvalidArgument("yolo", expected, f"a {type(yolo).__name__}")
    if network.is_fused():  # type: ignore[operator]  # of ultralytics' BaseModel
        raise InvalidArgument("yolo", "a model before fuse()", "a fused one")
    rows = where.Predicate(lambda site: _is_row(site, layers), "rows of the configuration")
    report = convert_(network, operator, where.downsampling & rows, init, calibration)
    kind = layers.LAYERS[operator]
    parts = [*config["backbone"], *config["head"]]
    for name in report.replaced:
        layer: Any = network.get_submodule(name.rpartition(".")[0])
        # the same module under the class that the configuration will build
        layer.__class__ = kind
        conv = layer.conv
        if conv.bias is None:
            conv.bias = nn.Parameter(torch.zeros_like(conv.weight[:, 0, 0, 0]))
        layer.type = f"{kind.__module__}.{kind.__name__}"
        layer.np = sum(p.numel() for p in layer.parameters())
        parts[layer.i][2] = kind.__name__
    if hasattr(yolo, "ckpt") and init == "preserve" and not yolo.ckpt:
        yolo.ckpt = {"model": network}  # tells ultralytics that there are weights to keep
    return report


def _is_row(site: Site, layers: Any) -> bool:
    # ultralytics' Sequential of rows, then the Conv of a row
    return type(site.parent) is layers.Conv and hasattr(site.parent, "i")
