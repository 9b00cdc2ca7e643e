"""``rfaconv summary``: parameters and multiply-adds of a network, and the attention's share."""

from __future__ import annotations

from typing import Annotated

import typer


def summary(
    model: Annotated[str, typer.Argument(help="A model of timm, or one of `rfaconv models`.")],
    image_size: Annotated[
        int | None, typer.Option(help="Pixels. [default: the model's own]")
    ] = None,
    channels: Annotated[int, typer.Option(help="Of the image.")] = 3,
    classes: Annotated[int, typer.Option(help="Outputs.")] = 1000,
    layers: Annotated[bool, typer.Option("--layers", help="One row per layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show parameters and multiply-adds, and attention's share."""
    from rfaconv.cli._summary_report import collect, show
    from rfaconv.files import strict_json

    report = collect(model, image_size, channels, classes)
    if as_json:
        typer.echo(strict_json(report), nl=False)
    else:
        show(report, layers)
