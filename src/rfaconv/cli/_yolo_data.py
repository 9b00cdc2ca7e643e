"""``rfaconv yolo data``: labelled images to a data set that YOLO trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 10


def data(
    source: Annotated[
        Path,
        typer.Argument(help="A Pascal VOC folder, a COCO JSON or its folder, images and masks."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the data set; data.yaml is in it.")],
    task: Annotated[
        str | None, typer.Option(help="detect or segment; by default what the labels are for.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of a COCO JSON's pictures, if not beside it.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names with commas; of masks: of their values from 1 on.")
    ] = None,
    val: Annotated[
        float, typer.Option(help="Share for validation where the source has no such part.")
    ] = 0.2,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links instead of copies of the pictures.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="The first problem is an error.")
    ] = False,
) -> None:
    """Write a YOLO data set from Pascal VOC, COCO or mask folders, and say what was wrong."""
    from rfaconv.cli._options import parse_names
    from rfaconv.lab.data.yolo.sources import read_source
    from rfaconv.lab.data.yolo.writing import write_source

    names = parse_names(classes, "classes") if classes is not None else None
    read = read_source(source, task, images=images, classes=names, val=val, strict=strict)
    target = write_source(read, out, link=link)
    for split, pictures in read.splits.items():
        count = sum(len(picture.rows) for picture in pictures)
        empty = sum(not picture.rows for picture in pictures)
        typer.echo(
            f"{split}: {len(pictures)} pictures, {count} objects"
            + (f", {empty} pictures without any" if empty else ""),
            err=True,
        )
    for line in read.problems[:_SHOWN]:
        typer.echo(f"passed over: {line}", err=True)
    if len(read.problems) > _SHOWN:
        rest = len(read.problems) - _SHOWN
        typer.echo(f"and {rest} more, all in {target.parent / 'problems.txt'}", err=True)
    typer.echo(target)
