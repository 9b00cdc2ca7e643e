"""``rfaconv weights``: the trained networks that are published with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def weights(
    place: Annotated[
        Path | None, typer.Argument(help="Folder with their folders. [default: weights]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the published networks, and check their files.

    By SHA-256, those that are here. timm.create_model("local-dir:weights/NAME", pretrained=True)
    makes one, after import rfaconv.models. Exits with 1 if a file is damaged.
    """
    from dataclasses import asdict

    from rfaconv.errors import InvalidArgument
    from rfaconv.files import strict_json
    from rfaconv.models.published import DAMAGED, default_place, published

    if place is not None and not place.is_dir():
        raise InvalidArgument("place", "a folder", str(place))
    folder = place or default_place()
    states = {one.name: one.state(folder) for one in published()}
    if as_json:
        rows = [
            {**asdict(one), "file": states[one.name], "folder": str(folder / one.name)}
            for one in published()
        ]
        typer.echo(strict_json(rows), nl=False)
    else:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE, show_edge=False, padding=(0, 1))
        for name in ("name", "trained by", "top-1 %", "params", "MB", "SHA-256", "file"):
            table.add_column(
                name, justify="right" if name in ("top-1 %", "params", "MB") else "left"
            )
        for one in published():
            table.add_row(
                one.name, one.command, f"{100 * one.top1:.2f} of {one.test_images:,}",
                f"{one.parameters:,}", f"{one.bytes / 1e6:.1f}", one.sha256[:12], states[one.name],
                style="red" if states[one.name] == DAMAGED else "",
            )  # fmt: skip
        Console().print(table)
    if DAMAGED in states.values():
        raise typer.Exit(1)
