"""A recipe of a detector or a segmenter carried out in a folder; goes on where it was cut off."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.files import strict_json, write_atomic
from rfaconv.predict import save_predictor
from rfaconv.recipes import recipe_text
from rfaconv.recipes.tasks import TaskRecipe, read_task_recipe
from rfaconv.tasks.building import (
    TaskLoaders,
    TaskSets,
    settings,
    task_module,
    task_network,
    task_sets,
)
from rfaconv.training.build import RECIPE_FILE
from rfaconv.training.environment import environment, limited_threads
from rfaconv.training.preemption import Preemption
from rfaconv.training.running import quiet
from rfaconv.training.saves import STATE, WEIGHTS, Saves, last_good
from rfaconv.training.task_module import TaskEpoch, TaskModule

METRICS = {"detection": "mAP", "segmentation": "mIoU"}
NAMED_PROBLEMS = 10
PREDICTOR = "predictor.safetensors"
_RESUME = ("auto", "never")

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
    if resume not in _RESUME:
        raise unknown_name("resume", resume, _RESUME)
    sets = task_sets(recipe)
    checkpoint = _prepare(recipe, out, resume, say)
    describe(sets, say)
    network = task_network(recipe, sets, None if checkpoint is None else checkpoint / WEIGHTS)
    module, train, val = task_module(recipe, network, sets)
    saves = Saves(out, recipe.checkpoints.keep)
    callbacks: list[Callback] = [_Curve(out), saves]
    if on_epoch is not None:
        callbacks.append(_Report(on_epoch))
    preemption = Preemption(saves, accumulate=1)
    callbacks.append(preemption)
    start = time.perf_counter()
    threads = limited_threads(recipe.threads or torch.get_num_threads())
    with quiet(), threads, preemption.listening():
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator=accelerator,
            devices=1,
            gradient_clip_val=10.0,
            callbacks=callbacks,
            default_root_dir=out,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        path = None if checkpoint is None else checkpoint / STATE
        try:
            # the file is checked against its manifest, and is this user's own
            loaders = TaskLoaders(train, val)
            trainer.fit(module, datamodule=loaders, ckpt_path=path, weights_only=True)
        except SystemExit as error:
            if trainer.interrupted and error.code == 1:
                raise KeyboardInterrupt from error
            raise
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


def _prepare(recipe: TaskRecipe, out: Path, resume: str, say: Say) -> Path | None:
    file = out / RECIPE_FILE
    if file.exists():
        expected = "a new folder or a run of the same recipe"
        try:
            found = read_task_recipe(str(file))
        except InvalidArgument as error:
            raise InvalidArgument("out", expected, str(out)) from error
        if resume == "never":
            raise InvalidArgument("out", "a new folder with resume never", str(out))
        if found != recipe:
            raise InvalidArgument("out", expected, f"{out} (another)")
    elif out.exists() and any(out.iterdir()):
        raise InvalidArgument("out", "a new folder or a run of this recipe", str(out))
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(file, recipe_text(recipe))
    checkpoint, damaged = last_good(out)
    for sentence in damaged:
        say(f"damaged checkpoint left aside: {sentence}")
    if checkpoint is not None:
        say(f"going on from {checkpoint}")
    return checkpoint


class _Report(Callback):
    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        self.on_epoch(pl_module.history[-1])


class _Curve(Callback):
    """Keeps ``metrics.csv``: one line per epoch, rewritten whole."""

    def __init__(self, run: Path) -> None:
        self.path = run / "metrics.csv"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        text = io.StringIO()
        table = csv.DictWriter(text, [field.name for field in fields(TaskEpoch)])
        table.writeheader()
        table.writerows(asdict(record) for record in pl_module.history)
        write_atomic(self.path, text.getvalue())
