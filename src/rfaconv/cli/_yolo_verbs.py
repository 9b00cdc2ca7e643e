"""The verbs of ``rfaconv yolo`` that ultralytics does not have: data, convert, import, yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rfaconv.cli._options import TYPER
from rfaconv.cli._yolo_data import data

_OPERATORS = "rfa, rfcbam, rfca, cam, cbam or ca."
_AT = "down (the paper's), blocks, head, several with commas, or all."

Operator = Annotated[str, typer.Argument(help=_OPERATORS)]
At = Annotated[str, typer.Option("--at", help=_AT)]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


def build() -> Any:
    """The command with the verbs, to be run with the words behind ``rfaconv yolo``."""
    app = typer.Typer(**TYPER)
    app.command("data")(data)
    app.command("convert")(convert)
    app.command("import")(import_)
    app.command("yaml")(yaml)
    return typer.main.get_command(app)


def yaml(
    network: Annotated[str, typer.Argument(help="Such as yolov8n, yolo11s-seg or a YAML file.")],
    operator: Operator,
    at: At = "down",
    out: Annotated[Path, typer.Option(help="Folder of the file.")] = Path(),
) -> None:
    """Write a model YAML with an operator in it, to edit: the rows and comments of the original.

    The plain command yolo trains it too.
    """
    from rfaconv.integrations import register
    from rfaconv.integrations.ultralytics import write_model_yaml

    register("ultralytics")
    typer.echo(write_model_yaml(network, operator, out, at=at, standalone=True))


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A trained .pt of ultralytics.")],
    operator: Operator,
    out: Annotated[Path, typer.Option(help="The new .pt.")],
    at: At = "down",
    init: Annotated[
        str, typer.Option(help="preserve: it computes what it did; fresh: new weights there.")
    ] = "preserve",
    force: Force = False,
) -> None:
    """Put an operator into a trained network, for yolo train model=NEW.pt.

    Nothing that the file says is run.
    """
    from rfaconv.integrations.ultralytics import checkpoints
    from rfaconv.integrations.ultralytics import convert as convert_yolo

    _check_out(out, force)
    model = checkpoints.build(checkpoints.read_checkpoint(checkpoint))
    report = convert_yolo(model, operator, init, at=at)
    checkpoints.write_checkpoint(model, out)
    typer.echo(report, err=True)
    typer.echo(out)


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt of the published code or a fork.")],
    out: Annotated[Path, typer.Option(help="The new .pt.")],
    network: Annotated[
        str | None,
        typer.Option(help="For a state dict: its network, such as yolov8n-rfa-blocks."),
    ] = None,
    force: Force = False,
) -> None:
    """Read a network with the published layers or a fork's; write it for plain ultralytics.

    Classes of the file are not imported and nothing in it is run: layers are known by the names and
    shapes of their tensors.
    """
    from rfaconv.integrations.ultralytics import checkpoints

    _check_out(out, force)
    read = checkpoints.read_checkpoint(checkpoint)
    model = checkpoints.build(read, network)
    checkpoints.write_checkpoint(model, out)
    foreign = [n for n in read.unknown if not n.startswith(("torch.", "collections.", "builtins."))]
    typer.echo(f"classes named in the file, none of them run: {', '.join(foreign)}", err=True)
    typer.echo(out)


def _check_out(out: Path, force: bool) -> None:
    from rfaconv.errors import InvalidArgument

    if out.suffix != ".pt" or not out.parent.is_dir():
        raise InvalidArgument("out", "a .pt file in a folder that exists", str(out))
    if out.exists() and not force:
        raise InvalidArgument("out", "a file that does not exist (or --force)", str(out))
