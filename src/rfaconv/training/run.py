"""A recipe carried out: one folder, through Lightning, going on from its last good checkpoint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from rfaconv.data import ImageData
from rfaconv.data.decoding import DamagedImage
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.files import strict_json, write_atomic
from rfaconv.recipes import Recipe, read_recipe
from rfaconv.training.build import recipe_data, recipe_network
from rfaconv.training.callbacks import Curve, Report
from rfaconv.training.engine import run_trainer
from rfaconv.training.environment import environment, limited_threads
from rfaconv.training.fit import OnEpoch
from rfaconv.training.preemption import Preemption
from rfaconv.training.recipe_module import DataWait, RecipeModule
from rfaconv.training.run_data import RunData, StreamEpoch
from rfaconv.training.run_folder import check_folder, opened, resumed
from rfaconv.training.saves import STATE, Saves
from rfaconv.training.synced import synchronise_


class WorkerLost(RFAConvError):
    """A process that decodes images for the training ended, by lack of memory for example."""


class ProcessLost(RFAConvError):
    """A process of a job of several ended; what it had saved is intact."""


@dataclass(frozen=True)
class Machines:
    """Where a run is carried out.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``.
        devices: processes on each machine.
        nodes: machines.
        strategy: as of Lightning's Trainer: ``auto``, ``ddp`` …
        progress: whether to show a bar.
    """

    accelerator: str = "cpu"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, "1 or more", getattr(self, name))


def train_recipe(
    recipe: Recipe,
    out: Path,
    machines: Machines | None = None,
    *,
    resume: str = "auto",
    data: ImageData | None = None,
    on_epoch: OnEpoch | None = None,
    say: Any = lambda text: None,
) -> dict[str, Any]:
    """Trains a recipe in the folder ``out`` and returns what is written to its ``result.json``.

    Args:
        recipe: what to train.
        out: the run's folder; with ``resume="auto"`` it may hold the same recipe's run.
        machines: where; None is one process on the CPU.
        resume: ``auto`` goes on from the last good checkpoint; ``never`` refuses a folder in use.
        data: the recipe's images, if they are loaded already.
        on_epoch: called with every epoch's record.
        say: called with sentences for people.

    Raises:
        InvalidArgument: the folder holds another run, or an argument does not fit.
        TrainingDiverged: the loss is no longer a number.
        SavingFailed: a checkpoint could not be written.
        WorkerLost: a process that decodes images ended.
        DamagedImage: an image cannot be decoded any more, or with ``data.strict`` one of a shard.
        ProcessLost: another process of the job ended.
        Preempted: a termination signal came; the run is saved and goes on when started again.
    """
    machines = machines or Machines()
    world = machines.devices * machines.nodes
    if recipe.batch_size % (world * recipe.accumulate):
        expected = f"a multiple of {world} processes times {recipe.accumulate} parts"
        raise InvalidArgument("batch_size", expected, recipe.batch_size)
    check_folder(recipe, out, resume, read_recipe)
    # all of it before the folder is made: a name that is wrong leaves nothing behind
    data = data or recipe_data(recipe)
    for image in data.skipped:
        say(f"left out {image}")
    with opened(recipe, out):
        return _trained(recipe, out, machines, data, on_epoch, say)


def _trained(
    recipe: Recipe,
    out: Path,
    machines: Machines,
    data: ImageData,
    on_epoch: OnEpoch | None,
    say: Any,
) -> dict[str, Any]:
    world = machines.devices * machines.nodes
    checkpoint = resumed(out, say)
    # a run that goes on has its weights in the checkpoint, whatever became of the warm start
    network = recipe_network(recipe, data, warm=checkpoint is None)
    if recipe.sync_batch_norm and world > 1:
        network = synchronise_(network, machines.accelerator)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)
    steps = max(1, len(data.train) // recipe.batch_size) * recipe.epochs
    module = RecipeModule(network, data, recipe, steps)
    if recipe.compile:
        network.compile()
    wait = DataWait()
    saves = Saves(out, recipe.checkpoints.keep)
    callbacks: list[Callback] = [Curve(out), saves, wait, StreamEpoch()]
    if on_epoch is not None:
        callbacks.append(Report(on_epoch))
    preemption = Preemption(saves, recipe.accumulate)
    callbacks.append(preemption)
    start = time.perf_counter()
    threads = limited_threads(recipe.threads or torch.get_num_threads())
    board = find_spec("tensorboard") is not None
    with threads, preemption.listening():
        try:
            trainer = run_trainer(
                module,
                RunData(data, recipe),
                callbacks,
                checkpoint=None if checkpoint is None else checkpoint / STATE,
                folder=out,
                max_epochs=recipe.epochs,
                accelerator=machines.accelerator,
                devices=machines.devices,
                num_nodes=machines.nodes,
                strategy=machines.strategy,
                precision=recipe.precision,
                accumulate_grad_batches=recipe.accumulate,
                use_distributed_sampler=False,
                deterministic=None if machines.accelerator == "cpu" else "warn",
                logger=TensorBoardLogger(out, name="", version="tensorboard") if board else False,
                enable_progress_bar=machines.progress,
            )
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
    value = {
        "result": {
            "top1": module.history[-1].val_top1,
            # of shards, those that could be read
            "images": module.val_images,
            "curve": [asdict(record) for record in module.history],
        },
        "measured": {
            "seconds": time.perf_counter() - start,
            "data_wait": wait.share,
            # of the training steps alone, on all processes together
            "images_per_second": wait.batches * recipe.batch_size / recipe.accumulate
            / max(wait.wait + wait.work, 1e-9),
            "processes": world,
        },
        "data": {"name": data.name, "digest": data.digest, "train_images": len(data.train)},
        "environment": environment(torch.device("cpu") if machines.accelerator == "cpu"
                                   else module.device),
    }  # fmt: skip
    if trainer.is_global_zero:
        write_atomic(out / "result.json", strict_json(value))
    return value
