"""Carries out ``rfaconv train``: progress on stderr, the outcome on stdout."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rfaconv.cli._compare_run import _terminate

if TYPE_CHECKING:
    from rfaconv.recipes import Recipe


def run(
    recipe: Recipe,
    out: Path,
    accelerator: str,
    devices: int,
    nodes: int,
    strategy: str,
    resume: str,
) -> None:
    """Trains, showing progress."""
    from rich.console import Console

    from rfaconv.training.device import resolve_device
    from rfaconv.training.module import EpochRecord
    from rfaconv.training.preemption import Preempted
    from rfaconv.training.run import Machines, train_recipe

    console = Console(stderr=True)
    # in the processes that Lightning starts for the other devices
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"

    def say(text: str) -> None:
        if first:
            console.print(text, highlight=False)

    def epoch(record: EpochRecord) -> None:
        say(
            f"epoch {record.epoch + 1}/{recipe.epochs}  loss {record.train_loss:.4f}  "
            f"validation {record.val_loss:.4f}  top-1 {record.val_top1:.2%}"
        )

    if accelerator == "auto":
        accelerator = {"cuda": "gpu"}.get(kind := resolve_device("auto").type, kind)
    machines = Machines(accelerator, devices, nodes, strategy, console.is_terminal and first)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        value = train_recipe(recipe, out, machines, resume=resume, on_epoch=epoch, say=say)
    except Preempted as error:
        say(str(error))
        _terminate(signal.SIGTERM, None)
    if first:
        result, measured = value["result"], value["measured"]
        print(f"top-1 {result['top1']:.2%} of {result['images']} images, "
              f"{measured['seconds']:.0f} s, {measured['images_per_second']:.0f} images/s, "
              f"waiting for data {measured['data_wait']:.1%}, "
              f"in {out}")  # fmt: skip
        sys.stdout.flush()
