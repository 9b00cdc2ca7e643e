"""Accuracy of a trained run in detail, by torchmetrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from rfaconv.data import ImageData, ImageSet, Normalize, val_loader
from rfaconv.files import strict_json, write_atomic
from rfaconv.training.build import (
    load_weights,
    read_run,
    recipe_data,
    recipe_network,
    resized_centre,
)
from rfaconv.training.saves import WEIGHTS, best_good, last_good


def evaluate_run(run: Path, which: str = "last") -> dict[str, Any]:
    """Top-1, top-5, calibration error and per-class recall; writes ``eval.json`` into the run.

    Args:
        run: the run's folder.
        which: ``last`` or ``best`` checkpoint.

    Returns:
        Fractions in [0, 1]; ``confusion[i][j]``: images of class i that were taken for class j.
        With several ``data.evaluation`` these are of the first; ``evaluations`` has all by name.

    Raises:
        InvalidArgument: not a run, or no whole checkpoint.
    """
    recipe = read_run(run)
    last, _ = last_good(run)
    path = last if which == "last" and last is not None else best_good(run)
    data = recipe_data(recipe)
    # only the operator's structure is wanted: the weights come from the checkpoint
    network = recipe_network(recipe, data, warm=False)
    load_weights(network, path / WEIGHTS)
    network.eval()
    named = {
        name: resized_centre(data.val, data.image_size, resize)
        for name, resize in recipe.data.evaluation.items()
    }
    values = {name: _measure(network, data, images) for name, images in named.items()}
    value = dict(next(iter(values.values()))) if values else _measure(network, data, data.val)
    short = ("top1", "top5", "ece")
    value["evaluations"] = {k: {m: v[m] for m in short} for k, v in values.items()}
    value |= {"classes": list(data.classes), "checkpoint": path.name}
    write_atomic(run / "eval.json", strict_json(value))
    return value


def _measure(network: nn.Module, data: ImageData, images: ImageSet) -> dict[str, Any]:
    count, seen = len(data.classes), 0
    metrics = {
        "top1": MulticlassAccuracy(count, average="micro"),
        "top5": MulticlassAccuracy(count, average="micro", top_k=min(5, count)),
        "ece": MulticlassCalibrationError(count, n_bins=15),
        "per_class": MulticlassAccuracy(count, average=None),
        "confusion": MulticlassConfusionMatrix(count),
    }
    normalize = Normalize(data.mean, data.std)
    with torch.inference_mode():
        for batch, labels in val_loader(images, 256):
            scores = network(normalize(batch)).softmax(1)
            seen += len(labels)
            for metric in metrics.values():
                metric.update(scores, labels)
    value = {name: metric.compute().tolist() for name, metric in metrics.items()}
    return {**value, "images": seen}


def confusion_picture(value: dict[str, Any], path: Path) -> None:
    """Draws the confusion matrix of :func:`evaluate_run` as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(value["confusion"], cmap="Blues")
    places = range(len(value["classes"]))
    axes.set_xticks(places, value["classes"], rotation=90)
    axes.set_yticks(places, value["classes"])
    axes.set(xlabel="taken for", ylabel="is")
    for i, row in enumerate(value["confusion"]):
        for j, count in enumerate(row):
            axes.text(j, i, str(count), ha="center", va="center", fontsize=7)
    figure.savefig(path, dpi=120)
