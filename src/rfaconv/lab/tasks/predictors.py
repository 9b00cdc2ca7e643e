"""What a run of a detector or a segmenter leaves for ``rfaconv predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from rfaconv.predict import save_predictor
from rfaconv.recipes import Recipe
from rfaconv.training.networks import PLAIN
from rfaconv.variants import OPERATORS

PREDICTOR = "predictor.safetensors"


def save_run_predictor(
    out: Path, network: nn.Module, recipe: Recipe, classes: tuple[str, ...], **settings: Any
) -> None:
    """Writes :data:`PREDICTOR`; of ablations, which no file describes, there is none."""
    model = recipe.model
    if model.operator not in (PLAIN, *OPERATORS):
        return
    save_predictor(
        out / PREDICTOR, network, task=recipe.task, kind=model.kind, names=classes,
        backbone=model.backbone, converted=None if model.operator == PLAIN else model.operator,
        **settings,
    )  # fmt: skip
