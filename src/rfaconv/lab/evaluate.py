"""What a trained run gets right, in detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.files import as_text, strict_json, write_atomic
from rfaconv.lab.building import read_run, recipe_network, run_data
from rfaconv.lab.recipes import Recipe, Yolo
from rfaconv.lab.tasks import LightningTask, task_named
from rfaconv.lab.training.saves import WEIGHTS, best_good, last_good


@dataclass(frozen=True)
class Trained:
    """A run's network with what it is judged on.

    Attributes:
        recipe: of the run.
        task: of the recipe.
        data: its images.
        checkpoint: where the weights are.
        network: in evaluation mode.
    """

    recipe: Recipe
    task: LightningTask
    data: Any
    checkpoint: Path
    network: nn.Module


def trained_run(
    run: Path, which: str = "last", data: Any = None, tasks: Sequence[str] = ()
) -> Trained:
    """Reads the network of a run.

    Args:
        run: the run's folder.
        which: ``last`` or ``best`` checkpoint.
        data: the recipe's images, if they are loaded already.
        tasks: those that will do; all that Lightning trains if none is named.

    Raises:
        InvalidArgument: not a run, no whole checkpoint, or a run of another task.
    """
    recipe = read_run(run)
    task = task_named(recipe.task)
    if not isinstance(task, LightningTask) or recipe.task not in (tasks or (recipe.task,)):
        wanted = " or ".join(tasks) or "classify, detect or segment"
        raise InvalidArgument("run", f"a run of task {wanted}", f"one of task {recipe.task}: {run}")
    last, _ = last_good(run)
    path = last if which == "last" and last is not None else best_good(run)
    data = run_data(run, recipe) if data is None else data
    return Trained(recipe, task, data, path, recipe_network(recipe, data, path / WEIGHTS).eval())


def evaluate_run(run: Path, which: str = "last") -> dict[str, Any]:
    """The figures of a run on its validation images; writes ``eval.json`` into it.

    Args:
        run: the run's folder.
        which: ``last`` or ``best`` checkpoint.

    Returns:
        Of a classifier ``top1``, ``top5``, ``ece``, ``per_class`` recall and
        ``confusion[i][j]``, images of class i that were predicted as class j; of a detector ``map``
        and its kin; of a segmenter ``miou`` and ``pixel_accuracy``. All are in [0, 1];
        ``per_class`` has None for a class that does not occur.

    Raises:
        InvalidArgument: not a run, or no whole checkpoint.
    """
    recipe = read_run(run)
    if isinstance(recipe, Yolo):
        from rfaconv.lab.tasks.yolo import WEIGHTS as YOLO_WEIGHTS
        from rfaconv.lab.tasks.yolo import YoloTask

        task, path = YoloTask(), run / YOLO_WEIGHTS
        if not path.is_file():
            raise InvalidArgument("run", f"a run folder with {YOLO_WEIGHTS}", str(run))
        data = run_data(run, recipe)
        value = task.judge_run(run, recipe, data)
        score, checkpoint = task.score, path.name
    else:
        trained = trained_run(run, which)
        score, checkpoint, data = trained.task.score, trained.checkpoint.name, trained.data
        with torch.inference_mode():
            value = trained.task.judge(trained.network, recipe, data)
    value |= {
        "task": recipe.task,
        "score_name": score,
        "classes": list(data.classes),
        "checkpoint": checkpoint,
    }
    write_atomic(run / "eval.json", strict_json(value))
    return value


def confusion_picture(value: dict[str, Any], path: Path) -> None:
    """Draws the confusion matrix of :func:`evaluate_run` as a PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False}):  # a dollar sign in a name begins no formula
        _draw_confusion(value, Figure(figsize=(8, 8), layout="constrained"), path)


def _draw_confusion(value: dict[str, Any], figure: Any, path: Path) -> None:
    axes = figure.subplots()
    axes.imshow(value["confusion"], cmap="Blues")
    names = list(map(as_text, value["classes"]))
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    half = max(map(max, value["confusion"])) / 2
    for i, row in enumerate(value["confusion"]):
        for j, count in enumerate(row):
            colour = "white" if count > half else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color=colour)
    figure.savefig(path, dpi=120)
