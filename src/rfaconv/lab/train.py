"""A recipe of any task carried out in a folder; goes on from its last good checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from rfaconv.bench.environment import environment, limited_threads
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.building import recipe_data, recipe_network
from rfaconv.lab.data.decoding import DamagedImage
from rfaconv.lab.loggers import check_loggers, loggers
from rfaconv.lab.recipes import LightningRecipe, Recipe, Yolo, read_recipe
from rfaconv.lab.tasks import LightningTask, task_named
from rfaconv.lab.training.callbacks import Curve, DataWait, Report
from rfaconv.lab.training.engine import run_trainer
from rfaconv.lab.training.module import EpochRecord
from rfaconv.lab.training.preemption import Preemption
from rfaconv.lab.training.run_folder import check_data, check_folder, check_place, opened, resumed
from rfaconv.lab.training.saves import STATE, WEIGHTS, Saves
from rfaconv.lab.training.schedules import check_optimizer
from rfaconv.lab.training.synced import synchronise_

SCHEMA = 2
RESULT_FILE = "result.json"
NAMED_PROBLEMS = 10
CLIP = 10.0
"""Largest norm of the gradient of a detector or a segmenter."""

OnEpoch = Callable[[EpochRecord], None]
Log = Callable[[str], None]


class WorkerLost(RFAConvError):
    """A process that decodes images for the training ended, by lack of memory for example."""


class ProcessLost(RFAConvError):
    """A process of a job of several ended; what it had saved is intact."""


@dataclass(frozen=True)
class LaunchConfig:
    """Where a run is carried out.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``.
        devices: processes on each machine.
        nodes: machines.
        strategy: as of Lightning's Trainer: ``auto``, ``ddp`` …
        progress: whether to show a bar.
        index: which GPU, where one process trains.
        loggers: by name, as of :mod:`rfaconv.lab.loggers`; None is TensorBoard where that is
            installed.
    """

    accelerator: str = "cpu"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    progress: bool = False
    loggers: tuple[str, ...] | None = None
    index: int = 0

    def __post_init__(self) -> None:
        check_loggers(self.loggers or ())
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, "1 or more", getattr(self, name))


def train_recipe(
    recipe: Recipe,
    out: Path,
    launch: LaunchConfig | None = None,
    *,
    resume: str = "auto",
    data: Any = None,
    on_epoch: OnEpoch | None = None,
    log: Log = lambda text: None,
) -> dict[str, Any]:
    """Trains a recipe in the folder ``out`` and returns what is written to its ``result.json``.

    A checkpoint is saved at the end of every epoch and when a termination signal comes.

    Args:
        recipe: what to train, of any task.
        out: the run's folder; with ``resume="auto"`` it may hold the same recipe's run.
        launch: where; None is one process on the CPU.
        resume: ``auto`` goes on from the last good checkpoint; ``never`` refuses a folder in use.
        data: the recipe's images, if they are loaded already.
        on_epoch: called with every epoch's record.
        log: called with sentences for people.

    Raises:
        InvalidArgument: the folder holds another run, or an argument does not fit.
        TrainingDiverged: the loss is no longer a number.
        SavingFailed: a checkpoint could not be written.
        WorkerLost: a process that decodes images ended.
        DamagedImage: an image cannot be decoded any more.
        ProcessLost: another process of the job ended.
        Preempted: a termination signal came; the run is saved and goes on when started again.
    """
    launch = launch or LaunchConfig()
    world = launch.devices * launch.nodes
    if world > 1 and not task_named(recipe.task).processes:
        raise InvalidArgument("devices", f"1 process with task: {recipe.task}", world)
    parts = world * getattr(recipe, "accumulate", 1)
    if recipe.batch_size % parts:
        expected = f"a multiple of {world} processes times {parts // world} parts"
        raise InvalidArgument("batch_size", expected, recipe.batch_size)
    if isinstance(recipe, LightningRecipe):
        check_optimizer(recipe.optimizer.name)
    check_folder(recipe, out, resume, read_recipe)
    check_place(recipe, out)
    # all of it before the folder is made: a name that is wrong leaves nothing behind
    data = data or recipe_data(recipe)
    check_data(data, out)
    with opened(recipe, out, data):
        if isinstance(recipe, Yolo):
            _describe(data, log)
            return _trained_yolo(recipe, out, launch, data, on_epoch)
        assert isinstance(recipe, LightningRecipe)
        return _trained(recipe, out, launch, data, on_epoch, log)


def _trained_yolo(
    recipe: Yolo, out: Path, launch: LaunchConfig, data: Any, on_epoch: OnEpoch | None
) -> dict[str, Any]:
    from rfaconv.lab.tasks.yolo import YoloTask

    known = {"gpu": str(launch.index), "auto": "cpu"}
    device = known.get(launch.accelerator, launch.accelerator)
    start = time.perf_counter()
    with limited_threads(recipe.threads or torch.get_num_threads()):
        history, pace = YoloTask().train(recipe, out, device, data, on_epoch)
    value = _result(recipe, YoloTask.score, history, len(data.val), data, torch.device("cpu"))
    value["measured"] = {"seconds": time.perf_counter() - start, "images_per_second": pace}
    write_atomic(out / RESULT_FILE, strict_json(value))
    return value


def _trained(
    recipe: LightningRecipe,
    out: Path,
    launch: LaunchConfig,
    data: Any,
    on_epoch: OnEpoch | None,
    log: Log,
) -> dict[str, Any]:
    world = launch.devices * launch.nodes
    checkpoint = resumed(out, log)
    task = task_named(recipe.task)
    assert isinstance(task, LightningTask)
    # a run that goes on has its weights in the checkpoint, whatever became of the warm start
    network = recipe_network(recipe, data, None if checkpoint is None else checkpoint / WEIGHTS)
    if getattr(recipe, "sync_batch_norm", False) and world > 1:
        network = synchronise_(network, launch.accelerator)
    if getattr(recipe, "channels_last", False):
        network = network.to(memory_format=torch.channels_last)
    _describe(data, log)
    loading = task.loading(recipe, data)
    module = task.module(network, recipe, data, loading.steps * recipe.epochs)
    if getattr(recipe, "compile", False):
        network.compile()
    wait, saves = DataWait(), Saves(out, recipe.checkpoints.keep)
    callbacks: list[Callback] = [Curve(out), saves, wait]
    if on_epoch is not None:
        callbacks.append(Report(on_epoch))
    preemption = Preemption(saves, recipe.accumulate)
    callbacks.append(preemption)
    start = time.perf_counter()
    threads = limited_threads(recipe.threads or torch.get_num_threads())
    with threads, preemption.listening(), _lost_processes_named(world):
        trainer = run_trainer(
            module,
            loading,
            callbacks,
            checkpoint=None if checkpoint is None else checkpoint / STATE,
            folder=out,
            max_epochs=recipe.epochs,
            accelerator=launch.accelerator,
            devices=[launch.index] if launch.index else launch.devices,
            num_nodes=launch.nodes,
            strategy=launch.strategy,
            precision=recipe.precision,
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=None if recipe.task == "classify" else CLIP,
            use_distributed_sampler=False,
            deterministic=None if launch.accelerator == "cpu" else "warn",
            logger=loggers(launch.loggers, out, recipe) or False,
            enable_progress_bar=launch.progress,
        )
    device = torch.device("cpu") if launch.accelerator == "cpu" else module.device
    value = _result(recipe, module.score_name, module.history, len(data.val), data, device)
    value["measured"] = {
        "seconds": time.perf_counter() - start,
        "data_wait": wait.share,
        # of the training steps alone, on all processes together
        "images_per_second": wait.batches * recipe.batch_size / recipe.accumulate
        / max(wait.wait + wait.work, 1e-9),
        "processes": world,
    }  # fmt: skip
    if trainer.is_global_zero:
        task.finish(out, module.evaluated, recipe, data)
        write_atomic(out / RESULT_FILE, strict_json(value))
    return value


def _result(
    recipe: Recipe,
    name: str,
    history: Sequence[EpochRecord],
    judged: int,
    data: Any,
    device: torch.device,
) -> dict[str, Any]:
    """What does not depend on time; ``result`` is a function of recipe, data and machine."""
    last = history[-1]
    return {
        "schema": SCHEMA,
        "task": recipe.task,
        "result": {
            "score_name": name,
            name: last.score,
            "images": judged,
            "steps": last.steps,
            "curve": [record.named(name) for record in history],
        },
        "data": {
            "name": getattr(data, "name", None) or Path(recipe.data.root).name,
            "digest": data.digest,
            "train_images": len(data.train),
            "classes": list(data.classes),
            "problems": len(data.problems),
        },
        "environment": environment(device),
    }


@contextmanager
def _lost_processes_named(world: int) -> Iterator[None]:
    """Turns what torch says when a process is gone into an error that says so."""
    try:
        yield
    except DamagedImage as error:
        # from a loader's process it comes with that process's traceback around it
        raise DamagedImage(str(error).strip().rpartition("DamagedImage: ")[2]) from error
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            raise WorkerLost(
                f"a process that decodes images ended ({str(error).splitlines()[0]}); "
                "checkpoints are intact, the same command goes on from the last one"
            ) from error
        if world == 1 or isinstance(error, RFAConvError):
            raise
        raise ProcessLost(
            f"one of {world} processes ended or stopped answering "
            f"({str(error).splitlines()[0][:160]}); checkpoints are intact, "
            "the same command goes on from the last one"
        ) from error


def _describe(data: Any, log: Log) -> None:
    """Says how many images there are, and names and counts what was passed over."""
    log(f"{len(data.train)} images to learn from, {len(data.val)} to judge on")
    for problem in data.problems[:NAMED_PROBLEMS]:
        log(f"passed over: {problem}")
    if len(data.problems) > NAMED_PROBLEMS:
        log(f"passed over: {len(data.problems)} problems in all")
