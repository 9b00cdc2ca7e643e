"""Trainers that put an operator into the model themselves: the way that needs no registration.

``YOLO("yolov8n.yaml").train(trainer=TRAINERS["rfa"], ...)`` builds ultralytics' own model and
replaces its down-samplings, so it works with any version that lets a trainer build its model.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer

from rfaconv.nn import CONVOLUTIONS
from rfaconv.surgery import convert_, where
from rfaconv.variants import OPERATORS


class OperatorTrainer(DetectionTrainer):
    """ultralytics' DetectionTrainer of a model with an operator in its down-samplings."""

    operator: ClassVar[str]

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Builds the model, replaces the convolutions and takes over weights that fit."""
        converted = weights is not None and _has_operators(weights)
        model = super().get_model(cfg=cfg, weights=None if converted else weights, verbose=verbose)
        if not _has_operators(model):
            init = "preserve" if weights is not None and not converted else "fresh"
            model.eval()
            convert_(model, self.operator, where.downsampling, init)
            model.train()
        if converted:
            model.load(weights)
        return model


def _has_operators(model: Any) -> bool:
    kinds = tuple(CONVOLUTIONS.values())
    return isinstance(model, nn.Module) and any(isinstance(m, kinds) for m in model.modules())


def _make(operator: str) -> type[OperatorTrainer]:
    name = f"{operator.upper()}Trainer"
    body = {"operator": operator, "__module__": __name__, "__doc__": OperatorTrainer.__doc__}
    return type(name, (OperatorTrainer,), body)


TRAINERS: dict[str, type[OperatorTrainer]] = {operator: _make(operator) for operator in OPERATORS}
"""The trainer of every operator."""

globals().update({trainer.__name__: trainer for trainer in TRAINERS.values()})
