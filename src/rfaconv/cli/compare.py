"""``rfaconv compare``: trains a small ResNet with each operator on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    data: Annotated[
        str,
        typer.Option(help="digits, fashion-mnist, cifar10, cifar100 or folder:PATH."),
    ] = "digits",
    operators: Annotated[
        str,
        typer.Option(help="Names with commas, from conv, cam, cbam, ca, rfa, rfcbam, rfca."),
    ] = "conv,cam,cbam,ca,rfa,rfcbam,rfca",
    model: Annotated[
        str, typer.Option(help="small (made for small images) or a ResNet of timm.")
    ] = "small",
    seeds: Annotated[str, typer.Option(help="A count such as 3, or seeds such as 0,7,9.")] = "3",
    epochs: Annotated[
        int | None, typer.Option(help="Of each training. [default: 12 for digits, else 10]")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels. [default: the data's own, 64 for folders]")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate. [default: 0.2 for digits, else 0.1]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many training images. [default: all]")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="Folder of fashion-mnist, cifar10 and cifar100.")
    ] = Path("data"),
    download: Annotated[bool, typer.Option("--download", help="Fetch them if missing.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A damaged image file is an error, not skipped.")
    ] = False,
    split_seed: Annotated[int, typer.Option(help="Of the split of a folder that has no val/.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[
        str, typer.Option(help="Of the operators: auto, reference, cpu or triton.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Trainings at a time. [default: as fill the cores]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of each training. [default: 1 if images are tiny]")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that decode images which do not fit into memory.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Results folder. [default: rfaconv-compare-DATA]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json instead of the table.")
    ] = False,
) -> None:
    """Train one ResNet with each operator and compare accuracy and cost.

    Same seeds and schedule for all. Writes results.json, report.html and plots; a run that was
    interrupted goes on when it is started again with the same options.
    """
    from rfaconv.cli._compare_run import Request, run

    run(
        Request(
            data=data,
            operators=operators,
            model=model,
            seeds=seeds,
            epochs=epochs,
            image_size=image_size,
            batch_size=batch_size,
            lr=lr,
            limit=limit,
            root=root,
            download=download,
            strict=strict,
            split_seed=split_seed,
            device=device,
            backend=backend,
            jobs=jobs,
            threads=threads,
            workers=workers,
            out=out,
            as_json=as_json,
        )
    )
