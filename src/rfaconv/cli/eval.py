"""``rfaconv eval``: what a trained network gets right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def eval(  # the command's name
    model: Annotated[
        str,
        typer.Argument(
            help="A run; or with --data a folder of a network, a .safetensors, a .pt of "
            "ultralytics, an exported file or, with --pretrained, a network of timm."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Folder of images with truth. [default: the validation of the run]"),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best checkpoint, not the last.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="timm may fetch weights of a named network.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Top-1, top-5, calibration error, per-class table, confusion matrix (PNG); mAP; mIoU.

    A .pt file of ultralytics runs code when it is loaded: only open files that you trust.
    """
    from rfaconv.recipes.tasks import is_task_recipe

    if data is not None:
        _on_data(model, data, pretrained, as_json)
        return
    run = Path(model).expanduser()
    if is_task_recipe(str(run / "recipe.yaml")):
        from rfaconv.cli import _task_run

        _task_run.evaluate(run, best, as_json)
        return
    from rfaconv.errors import InvalidArgument
    from rfaconv.files import strict_json
    from rfaconv.lab.sources import identify
    from rfaconv.training.evaluate import confusion_picture, evaluate_run

    place = identify(model)
    if place.kind != "run":
        # a folder that does not exist is taken for a name
        found = "no folder or file" if place.kind == "name" else f"kind: {place.kind}"
        expected = "the folder of a run, or --data FOLDER with the images to judge on"
        raise InvalidArgument("model", expected, f"{model} ({found})")
    value = evaluate_run(run, "best" if best else "last")
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    _print(value["classes"], value["per_class"], "recall %")
    from rich.console import Console

    Console().print(
        f"top-1 {value['top1']:.2%}  top-5 {value['top5']:.2%}  ECE {value['ece']:.4f}  "
        f"({value['images']} images, {value['checkpoint']})",
        highlight=False,
    )
    confusion_picture(value, run / "confusion.png")


def _on_data(model: str, data: str, pretrained: bool, as_json: bool) -> None:
    """Judges any model on a folder of images."""
    from rich.console import Console
    from rich.progress import Progress

    from rfaconv.files import strict_json
    from rfaconv.lab.judging import judge

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging", total=None)
        value = judge(
            model, data, pretrained=pretrained,
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    heading = {"classify": "recall", "detect": "AP", "segment": "IoU"}[value["task"]]
    _print(value["classes"], value["per_class"], heading)
    shown = "  ".join(f"{k} {v:.2%}" for k, v in value.items() if isinstance(v, float))
    Console().print(f"{shown}  ({value['images']} images)", highlight=False)


def _print(classes: list[str], scores: list[Any], heading: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", heading)
    for name, share in zip(classes, scores, strict=True):
        table.add_row(name, "-" if share is None else f"{share:.1%}")
    Console().print(table)
