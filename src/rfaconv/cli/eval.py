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
    from rfaconv.files import strict_json
    from rfaconv.lab.evaluate import confusion_picture, evaluate_run
    from rfaconv.lab.tasks import TITLES

    value = evaluate_run(run, "best" if best else "last")
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("class", {"detect": "AP", "segment": "IoU"}.get(value["task"], "recall"))
    for name, share in zip(value["classes"], value["per_class"], strict=True):
        table.add_row(name, "-" if share is None else f"{share:.1%}")
    console = Console()
    console.print(table)
    shown = {k: v for k, v in value.items() if isinstance(v, float)}
    figures = "  ".join(f"{TITLES.get(key, key)} {number:.2%}" for key, number in shown.items())
    about = f"({value['images']} images, {value['checkpoint']})"
    console.print(f"{figures}  {about}", highlight=False)
    if "confusion" in value:
        confusion_picture(value, run / "confusion.png")
