"""``rfaconv eval``: what a trained run gets right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def eval(  # the command's name
    run: Annotated[Path, typer.Argument(help="Folder of a run of rfaconv train.")],
    best: Annotated[
        bool, typer.Option("--best", help="The best checkpoint, not the last.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print eval.json.")] = False,
) -> None:
    """Top-1, top-5, calibration error, per-class table, confusion matrix (PNG); mAP; mIoU."""
    from rfaconv.recipes.tasks import is_task_recipe

    if is_task_recipe(str(run / "recipe.yaml")):
        from rfaconv.cli import _task_run

        _task_run.evaluate(run, best, as_json)
        return
    from rfaconv.files import strict_json
    from rfaconv.training.evaluate import confusion_picture, evaluate_run

    value = evaluate_run(run, "best" if best else "last")
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "recall %")
    for name, share in zip(value["classes"], value["per_class"], strict=True):
        table.add_row(name, f"{share:.1%}")
    console = Console()
    console.print(table)
    console.print(
        f"top-1 {value['top1']:.2%}  top-5 {value['top5']:.2%}  ECE {value['ece']:.4f}  "
        f"({value['images']} images, {value['checkpoint']})",
        highlight=False,
    )
    confusion_picture(value, run / "confusion.png")
