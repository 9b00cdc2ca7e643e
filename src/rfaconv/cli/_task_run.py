"""Carries out ``rfaconv train`` and ``rfaconv eval`` for detectors and segmenters."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rfaconv.cli._compare_run import _terminate
from rfaconv.errors import InvalidArgument

if TYPE_CHECKING:
    from rfaconv.recipes.tasks import TaskRecipe


def train(
    name: str,
    overrides: Sequence[str],
    out: Path,
    accelerator: str,
    processes: int,
    resume: str,
) -> None:
    """Trains a recipe by its name or file."""
    from rfaconv.recipes.tasks import read_task_recipe

    carry_out(read_task_recipe(name, overrides), out, accelerator, processes, resume)


def carry_out(recipe: TaskRecipe, out: Path, accelerator: str, processes: int, resume: str) -> None:
    """Trains, showing progress on stderr and the outcome on stdout."""
    from rich.console import Console

    if processes != 1:
        raise InvalidArgument("devices", f"1 process with task: {recipe.task}", processes)
    from rfaconv.tasks.running import METRICS, train_task
    from rfaconv.training.device import resolve_device
    from rfaconv.training.preemption import Preempted
    from rfaconv.training.task_module import TaskEpoch

    console = Console(stderr=True)
    metric = METRICS[recipe.task]

    def epoch(record: TaskEpoch) -> None:
        score = "" if record.score is None else f"  {metric} {record.score:.2%}"
        text = f"epoch {record.epoch + 1}/{recipe.epochs}  loss {record.train_loss:.4f}{score}"
        console.print(text, highlight=False)

    if accelerator == "auto":
        accelerator = {"cuda": "gpu"}.get(kind := resolve_device("auto").type, kind)
    signal.signal(signal.SIGTERM, _terminate)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    try:
        value = train_task(
            recipe, out, accelerator=accelerator, resume=resume, progress=console.is_terminal,
            on_epoch=epoch, say=say,
        )  # fmt: skip
    except Preempted as error:
        say(str(error))
        _terminate(signal.SIGTERM, None)
    result, seconds = value["result"], value["measured"]["seconds"]
    print(f"{metric} {result[metric]:.2%} of {result['pictures']} pictures, {seconds:.0f} s, "
          f"in {out}")  # fmt: skip
    sys.stdout.flush()


def evaluate(run: Path, best: bool, as_json: bool) -> None:
    """Prints the figures of a run."""
    from rich.console import Console
    from rich.table import Table

    from rfaconv.files import strict_json
    from rfaconv.tasks.evaluating import evaluate_task

    value = evaluate_task(run, "best" if best else "last")
    if as_json:
        print(strict_json(value), end="")
        return
    table = Table("class", "AP" if value["task"] == "detection" else "IoU")
    for name, score in zip(value["classes"], value["per_class"], strict=True):
        table.add_row(name, "-" if score is None else f"{score:.1%}")
    console = Console()
    console.print(table)
    shown = {k: v for k, v in value.items() if isinstance(v, float)}
    figures = "  ".join(f"{key} {number:.2%}" for key, number in shown.items())
    console.print(f"{figures}  ({value['pictures']} pictures, {value['checkpoint']})",
                  highlight=False)  # fmt: skip
