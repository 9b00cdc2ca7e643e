"""What a trained detector or segmenter gets right, by torchmetrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchmetrics.detection import MeanAveragePrecision

from rfaconv.detection.fit import of_classes
from rfaconv.errors import InvalidArgument
from rfaconv.files import strict_json, write_atomic
from rfaconv.recipes.tasks import read_task_recipe
from rfaconv.segmentation import IGNORED
from rfaconv.segmentation.networks import scores
from rfaconv.tasks.building import task_module, task_network, task_sets
from rfaconv.training.run_folder import RECIPE_FILE
from rfaconv.training.saves import WEIGHTS, best_good, last_good

_SIZES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


def evaluate_task(run: Path, which: str = "last") -> dict[str, Any]:
    """Average precision as COCO counts, or intersection over union; writes ``eval.json``.

    Args:
        run: the run's folder.
        which: ``last`` or ``best`` checkpoint.

    Returns:
        ``map`` and its kin, or ``miou`` and ``pixel_accuracy``, in [0, 1]; ``per_class``, None for
        a class that does not occur.

    Raises:
        InvalidArgument: not a run, or no whole checkpoint.
    """
    if not (run / RECIPE_FILE).is_file():
        raise InvalidArgument("run", f"the folder of a run, with {RECIPE_FILE}", str(run))
    recipe = read_task_recipe(str(run / RECIPE_FILE))
    last, _ = last_good(run)
    path = last if which == "last" and last is not None else best_good(run)
    sets = task_sets(recipe)
    network = task_network(recipe, sets, path / WEIGHTS)
    network.eval()
    _, _, loader = task_module(recipe, network, sets)
    count = len(sets.classes)
    with torch.inference_mode():
        value = (_boxes if recipe.task == "detection" else _masks)(network, loader, count)
    value |= {
        "task": recipe.task,
        "classes": list(sets.classes),
        "pictures": len(sets.val),
        "checkpoint": path.name,
    }
    write_atomic(run / "eval.json", strict_json(value))
    return value


def _boxes(network: nn.Module, loader: DataLoader[Any], count: int) -> dict[str, Any]:
    metric = MeanAveragePrecision(class_metrics=True)
    for images, targets in loader:
        metric.update(
            network(list(images)), [{k: t[k] for k in ("boxes", "labels")} for t in targets]
        )
    figures = metric.compute()
    # torchmetrics has -1 for sizes without a box
    values = {key: float(figures[key]) for key in _SIZES}
    return {
        **{key: value if value >= 0 else None for key, value in values.items()},
        "per_class": list(of_classes(figures, count)),
    }


def _masks(network: nn.Module, loader: DataLoader[Any], count: int) -> dict[str, Any]:
    overlap = MulticlassJaccardIndex(count, average="none", ignore_index=IGNORED)
    right = MulticlassAccuracy(count, average="micro", ignore_index=IGNORED)
    for images, masks in loader:
        found = scores(network, images).argmax(1)
        overlap.update(found, masks)
        right.update(found, masks)
    per_class = overlap.compute().tolist()
    return {
        "miou": sum(per_class) / count,
        "pixel_accuracy": float(right.compute()),
        "per_class": per_class,
    }
