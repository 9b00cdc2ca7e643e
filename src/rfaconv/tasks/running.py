"""A recipe of a detector or a segmenter carried out in a folder; goes on where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from rfaconv.files import strict_json, write_atomic
from rfaconv.predict import save_predictor
from rfaconv.recipes.tasks import TaskRecipe, read_task_recipe
from rfaconv.tasks.building import (
    TaskLoaders,
    TaskSets,
    settings,
    task_module,
    task_network,
    task_sets,
)
from rfaconv.training.callbacks import Curve, Report
from rfaconv.training.engine import run_trainer
from rfaconv.training.environment import environment, limited_threads
from rfaconv.training.preemption import Preemption
from rfaconv.training.run_folder import check_folder, opened, resumed
from rfaconv.training.running import CLIP
from rfaconv.training.saves import STATE, WEIGHTS, Saves
from rfaconv.training.task_module import TaskEpoch

METRICS = {"detection": "mAP", "segmentation": "mIoU"}
NAMED_PROBLEMS = 10
PREDICTOR = "predictor.safetensors"

Say = Callable[[str], None]
OnEpoch = Callable[[TaskEpoch], None]


def train_task(
    recipe: TaskRecipe,
    out: Path,
    *,
    accelerator: str = "cpu",
    resume: str = "auto",
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Trains a recipe in the folder ``out`` and returns what is written to its ``result.json``.

    A checkpoint is saved at the end of every epoch and when a termination signal comes;
    ``predictor.safetensors`` is written at the end for ``rfaconv predict``.

    Args:
        recipe: what to train.
        out: the run's folder; with ``resume="auto"`` it may hold the same recipe's run.
        accelerator: ``cpu``, ``gpu`` or ``mps``; one process trains.
        resume: ``auto`` goes on from the last good checkpoint; ``never`` refuses a folder in use.
        progress: whether to show a bar.
        on_epoch: called with every epoch's record.
        say: called with sentences for people.

    Raises:
        InvalidArgument: the folder holds another run, or an argument does not fit.
        TrainingDiverged: the loss is no longer a number.
        SavingFailed: a checkpoint could not be written.
        Preempted: a termination signal came; the run is saved and goes on when started again.
    """
    check_folder(recipe, out, resume, read_task_recipe)
    # all of it before the folder is made: a name that is wrong leaves nothing behind
    sets = task_sets(recipe)
    with opened(recipe, out):
        return _trained(recipe, out, sets, accelerator, progress, on_epoch, say)


def _trained(
    recipe: TaskRecipe,
    out: Path,
    sets: TaskSets,
    accelerator: str,
    progress: bool,
    on_epoch: OnEpoch | None,
    say: Say,
) -> dict[str, Any]:
    checkpoint = resumed(out, say)
    describe(sets, say)
    network = task_network(recipe, sets, None if checkpoint is None else checkpoint / WEIGHTS)
    module, train, val = task_module(recipe, network, sets)
    saves = Saves(out, recipe.checkpoints.keep)
    callbacks: list[Callback] = [Curve(out), saves]
    if on_epoch is not None:
        callbacks.append(Report(on_epoch))
    preemption = Preemption(saves, accumulate=1)
    callbacks.append(preemption)
    start = time.perf_counter()
    threads = limited_threads(recipe.threads or torch.get_num_threads())
    with threads, preemption.listening():
        trainer = run_trainer(
            module,
            TaskLoaders(train, val),
            callbacks,
            checkpoint=None if checkpoint is None else checkpoint / STATE,
            folder=out,
            max_epochs=recipe.epochs,
            accelerator=accelerator,
            gradient_clip_val=CLIP,
            enable_progress_bar=progress,
        )
    value = {
        "result": {
            module.score_name: module.history[-1].score,
            "pictures": len(sets.val),
            "curve": [asdict(record) for record in module.history],
        },
        "measured": {"seconds": time.perf_counter() - start},
        "data": {
            "train_pictures": len(sets.train),
            "classes": list(sets.classes),
            "problems": len(sets.problems),
        },
        "environment": environment(
            torch.device("cpu") if accelerator == "cpu" else trainer.strategy.root_device
        ),
    }
    write_atomic(out / "result.json", strict_json(value))
    model = recipe.model
    converted = model.operator if model.warm_start and model.operator != "conv" else None
    named = converted is None and model.operator != "conv"
    backbone = f"{model.operator}_{model.backbone}" if named else model.backbone
    scaled = {} if recipe.data.image_size is None else {"image_size": recipe.data.image_size}
    save_predictor(
        out / PREDICTOR, network, task={"detection": "detect"}.get(recipe.task, "segment"),
        kind=model.kind, names=sets.classes,
        backbone=backbone, converted=converted, **settings(recipe), **scaled,
    )  # fmt: skip
    return value


def describe(sets: TaskSets, say: Say) -> None:
    """Says how many pictures there are, and names and counts what was passed over."""
    say(f"{len(sets.train)} pictures to learn from, {len(sets.val)} to judge on")
    for problem in sets.problems[:NAMED_PROBLEMS]:
        say(f"passed over: {problem}")
    if len(sets.problems) > NAMED_PROBLEMS:
        say(f"passed over: {len(sets.problems)} problems in all")
