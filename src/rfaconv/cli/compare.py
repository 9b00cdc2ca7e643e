"""``rfaconv compare``: trains networks with each operator and says what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of images, recipes (see rfaconv train --list), STUDY.yaml, and key=value "
            "such as epochs=5. [default: eurosat-sample]"
        ),
    ] = None,
    operators: Annotated[
        str | None,
        typer.Option(
            help="Names with commas: conv, cam, cbam, ca, rfa, rfcbam, rfca; baselines features, "
            "wide (the plain network at the operator's latency), long (at its training time). "
            "[default: the first seven]"
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="A count such as 3, or seeds such as 0,7,9. [default: 3]")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classify, detect, segment, or yolo for a folder of these.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="eurosat-sample, digits, fashion-mnist, cifar10, folder:PATH."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of classifiers (model.name).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels (data.image_size).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate (optimizer.lr).")] = None,
    limit: Annotated[int | None, typer.Option(help="Training images at most.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision's sets.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch them if missing.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A problem of the data is an error, not passed over.")
    ] = False,
    split_seed: Annotated[int | None, typer.Option(help="Of what is held out.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[str | None, typer.Option(help="Of the operators (model.backend).")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Trainings at a time. [default: as fill the cores]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of each training. [default: 1]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images.")] = None,
    on: Annotated[str, typer.Option(help="local, or ray for a Ray cluster.")] = "local",
    out: Annotated[
        Path | None, typer.Option(help="Results folder. [default: rfaconv-compare-DATA]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json instead of the table.")
    ] = False,
) -> None:
    """Train a network with each operator; compare score and cost.

    The task is what the images are labelled for. Same seeds and schedule for all. Writes
    results.json, report.html, tables (CSV, Markdown, LaTeX) and plots; a run that was interrupted
    goes on when it is started again with the same options, and one that is there takes more
    operators and seeds.
    """
    from rfaconv.cli._compare_run import Request, run

    changes: dict[str, Any] = {
        "model.name": model, "epochs": epochs, "data.image_size": image_size,
        "batch_size": batch_size, "optimizer.lr": lr, "data.limit": limit, "data.root": root,
        "data.split_seed": split_seed, "model.backend": backend, "threads": threads,
        "data.workers": workers, "data.strict": strict or None, "data.download": download or None,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in changes.items() if value is not None]
    words = sources or []
    run(
        Request(
            sources=[word for word in words if "=" not in word],
            data=data,
            overrides=[*overrides, *(word for word in words if "=" in word)],
            operators=operators,
            seeds=seeds,
            task=task,
            device=device,
            jobs=jobs,
            on=on,
            out=out,
            as_json=as_json,
        )
    )
