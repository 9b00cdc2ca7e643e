"""Carries out ``rfaconv compare``: options to settings, progress to stderr, table to stdout."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rfaconv.cli._options import parse_names, parse_seeds
from rfaconv.errors import InvalidArgument


@dataclass(frozen=True)
class Request:
    """The options of ``rfaconv compare`` as they were typed; None where left open."""

    data: str
    operators: str
    model: str
    seeds: str
    epochs: int | None
    image_size: int | None
    batch_size: int
    lr: float | None
    limit: int | None
    root: Path
    download: bool
    strict: bool
    split_seed: int
    device: str
    backend: str
    jobs: int | None
    threads: int | None
    workers: int
    out: Path | None
    as_json: bool


def run(request: Request) -> None:
    """Compares, showing progress on stderr and the outcome on stdout."""
    if request.model != "small":
        _check_name_early(request.model)
    operators = parse_names(request.operators, "operators")
    seeds = parse_seeds(request.seeds)

    from rich.console import Console

    from rfaconv.cli._progress import RichProgress
    from rfaconv.cli._table import comparison_table, verdict_lines
    from rfaconv.compare.runner import compare
    from rfaconv.compare.settings import (
        CompareSettings,
        Execution,
        default_epochs,
        default_jobs,
        default_lr,
        default_threads,
    )
    from rfaconv.data import DataSpec
    from rfaconv.data.load import native_size
    from rfaconv.files import strict_json
    from rfaconv.training.device import resolve_device
    from rfaconv.training.environment import available_cores
    from rfaconv.training.module import Schedule

    data = DataSpec(
        name=request.data,
        image_size=request.image_size,
        root=request.root,
        download=request.download,
        strict=request.strict,
        limit=request.limit,
        split_seed=request.split_seed,
    )
    device = resolve_device(request.device)
    cores = available_cores()
    threads = request.threads
    if threads is None:
        threads = default_threads(request.model, native_size(data), cores)
    epochs = default_epochs(data.name) if request.epochs is None else request.epochs
    lr = default_lr(data.name) if request.lr is None else request.lr
    settings = CompareSettings(
        data=data,
        schedule=Schedule(epochs, request.batch_size, lr),
        model=request.model,
        operators=operators,
        seeds=seeds,
        device=str(device),
        backend=request.backend,
        threads=threads,
    )
    jobs = request.jobs
    if jobs is None:
        jobs = default_jobs(device.type, threads, cores, len(settings.pairs))
    execution = Execution(
        out=(request.out or default_out(request.data)).expanduser(),
        jobs=jobs,
        workers=request.workers,
    )
    signal.signal(signal.SIGTERM, _terminate)
    with RichProgress() as progress:
        results = compare(settings, execution, progress)
    if request.as_json:
        sys.stdout.write(strict_json(results))
        return
    console = Console()
    console.print(comparison_table(results))
    for line in verdict_lines(results):
        console.print(line, highlight=False)
    report = execution.out / "report.html"
    console.print(f"\n[bold]{report}[/bold] has curves and attention maps;", highlight=False)
    console.print(f"{execution.out / 'results.json'} the numbers.", highlight=False)


def default_out(data: str) -> Path:
    """Results folder of a data set when none is given.

    Example:
        >>> default_out("folder:/tmp/My flowers/").name
        'rfaconv-compare-My-flowers'
    """
    name = Path(data.removeprefix("folder:")).name if data.startswith("folder:") else data
    return Path("rfaconv-compare-" + re.sub(r"[^A-Za-z0-9._]+", "-", name or "folder"))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves in an orderly way, so that training processes are stopped too."""
    print("error: terminated; the same command goes on where it stopped", file=sys.stderr)
    raise SystemExit(128 + number)


def _check_name_early(model: str) -> None:
    """Fails on an empty name before anything heavy is imported."""
    if not model.strip():
        raise InvalidArgument("model", "small or a ResNet of timm", repr(model))
