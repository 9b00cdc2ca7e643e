"""Carries out ``rfaconv train``: progress on stderr, the outcome on stdout."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rfaconv.cli._compare_run import terminate
from rfaconv.cli._options import plain_console

if TYPE_CHECKING:
    from rfaconv.lab.recipes import Recipe


@dataclass(frozen=True)
class Places:
    """Where and how, as it was typed."""

    accelerator: str
    devices: int
    nodes: int
    strategy: str
    resume: str
    log: tuple[str, ...] | None


def run(recipes: Sequence[Recipe], folders: Sequence[Path], places: Places) -> None:
    """Trains one after the other; of several seeds the mean is printed at the end."""
    from rfaconv.lab.statistics import mean_and_std
    from rfaconv.lab.tasks import TITLES, task_named

    scores = [_one(recipe, out, places) for recipe, out in zip(recipes, folders, strict=True)]
    if len(scores) > 1 and _first():
        mean, std = mean_and_std(scores)
        title = TITLES[task_named(recipes[0].task).score]
        print(f"{title} {mean:.2%} ± {std:.2%} of {len(scores)} seeds, in {folders[0].parent}")


def _first() -> bool:
    """Whether this is none of the processes that Lightning starts for the other devices."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _one(recipe: Recipe, out: Path, places: Places) -> float:

    from rfaconv.lab.tasks import TITLES, task_named
    from rfaconv.lab.train import LaunchConfig, train_recipe
    from rfaconv.lab.training.device import resolve_device
    from rfaconv.lab.training.module import EpochRecord
    from rfaconv.lab.training.preemption import Preempted

    console, first = plain_console(), _first()

    def log(text: str) -> None:
        if first:
            console.print(text)

    title = TITLES[score := task_named(recipe.task).score]

    def epoch(record: EpochRecord) -> None:
        judged = "" if record.val_loss is None else f"  validation {record.val_loss:.4f}"
        log(
            f"epoch {record.epoch + 1}/{recipe.epochs}  loss {record.train_loss:.4f}{judged}  "
            f"{title} {record.score:.2%}"
        )

    accelerator = places.accelerator
    if accelerator == "auto":
        accelerator = {"cuda": "gpu"}.get(kind := resolve_device("auto").type, kind)
    launch = LaunchConfig(
        accelerator, places.devices, places.nodes, places.strategy,
        console.is_terminal and first, places.log,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, terminate)
    try:
        value = train_recipe(recipe, out, launch, resume=places.resume, on_epoch=epoch, log=log)
    except Preempted as error:
        log(str(error))
        terminate(signal.SIGTERM, None)
    result, measured = value["result"], value["measured"]
    if first:
        wait = measured.get("data_wait")
        waiting = "" if wait is None else f"waiting for data {wait:.1%}, "
        print(f"{title} {result[score]:.2%} of {result['images']} images, "
              f"{result['steps']} steps, {measured['seconds']:.0f} s, "
              f"{measured['images_per_second']:.0f} images/s, {waiting}in {out}")  # fmt: skip
        sys.stdout.flush()
    return float(result[score])
