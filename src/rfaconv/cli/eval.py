"""``rfaconv eval``: what a trained network gets right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rfaconv.cli._options import Pretrained, plain_console


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
    corrupt: Annotated[
        bool,
        typer.Option(
            "--corrupt",
            help="A classifier's run on corrupted images: noise, blur, contrast, brightness, JPEG.",
        ),
    ] = False,
    gates: Annotated[
        bool,
        typer.Option(
            "--gates", help="How uneven the gates of a run are, and its score with them frozen."
        ),
    ] = False,
    pretrained: Pretrained = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Judge a trained network on images whose truth is known.

    Of classifiers top-1, top-5, calibration error and confusion matrix (PNG), of detectors mAP, of
    segmenters mIoU; of each a table of the classes.

    A .pt file of ultralytics runs code when it is loaded: only open files that you trust.
    """
    from rfaconv.errors import InvalidArgument

    if corrupt + gates + (data is not None) > 1:
        got = "several of them"
        raise InvalidArgument("options", "one of --corrupt, --gates and --data", got)
    if data is not None:
        _on_data(model, data, pretrained, as_json)
        return
    from rfaconv.files import strict_json
    from rfaconv.lab.evaluate import confusion_picture, evaluate_run
    from rfaconv.lab.sources import identify

    run = Path(model).expanduser()
    if not (run / "recipe.yaml").is_file():
        place = identify(model)
        # a folder that does not exist is taken for a name
        found = "no folder or file" if place.kind == "name" else f"kind: {place.kind}"
        expected = "the folder of a run, or --data FOLDER with the images to judge on"
        raise InvalidArgument("model", expected, f"{model} ({found})")
    which = "best" if best else "last"
    if corrupt or gates:
        from rfaconv.cli._eval_tables import corruption_table, gate_tables
        from rfaconv.lab.gates import gates_run
        from rfaconv.lab.robustness import corrupted_run

        value = corrupted_run(run, which) if corrupt else gates_run(run, which)
        if as_json:
            typer.echo(strict_json(value), nl=False)
        else:
            (corruption_table if corrupt else gate_tables)(value)
        return
    value = evaluate_run(run, which)
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    _show(value, f", {value['checkpoint']}")
    if "confusion" in value:
        confusion_picture(value, run / "confusion.png")


def _on_data(model: str, data: str, pretrained: bool, as_json: bool) -> None:
    """Judges any model on a folder of images."""
    from rich.progress import Progress

    from rfaconv.files import strict_json
    from rfaconv.lab.judging import judge

    console = plain_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging", total=None)
        value = judge(
            model, data, pretrained=pretrained,
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        typer.echo(strict_json(value), nl=False)
        return
    for problem in value["problems"]:
        console.print(f"passed over: {problem}")
    _show(value, "")


def _show(value: Mapping[str, Any], more: str) -> None:
    """A table of the classes, and the figures."""
    from rich.table import Table

    from rfaconv.lab.tasks import TITLES

    table = Table("class", {"classify": "recall", "segment": "IoU"}.get(value["task"], "AP"))
    for name, share in zip(value["classes"], value["per_class"], strict=True):
        table.add_row(name, "-" if share is None else f"{share:.1%}")
    console = plain_console(stderr=False)
    console.print(table)
    shown = [(TITLES.get(k, k), v) for k, v in value.items() if isinstance(v, float)]
    figures = "  ".join(f"{name} {number:.2%}" for name, number in shown)
    console.print(f"{figures}  ({value['images']} images{more})")
