"""Carries out ``rfaconv compare``: options to a study, progress to stderr, table to stdout."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rfaconv.cli._options import parse_names, parse_seeds

if TYPE_CHECKING:
    from rfaconv.lab.study import Study


@dataclass(frozen=True)
class Request:
    """The words of ``rfaconv compare`` as they were typed; None where left open."""

    sources: list[str]
    data: str | None
    overrides: list[str]
    operators: str | None
    seeds: str | None
    task: str | None
    device: str
    jobs: int | None
    on: str
    out: Path | None
    as_json: bool


def run(request: Request) -> None:
    """Compares, showing progress on stderr and the outcome on stdout."""
    operators = None if request.operators is None else parse_names(request.operators, "operators")
    seeds = None if request.seeds is None else parse_seeds(request.seeds)

    from rich.console import Console

    from rfaconv.cli._progress import RichProgress
    from rfaconv.files import strict_json
    from rfaconv.lab.grid import Execution, compare
    from rfaconv.lab.report.sentences import sentences
    from rfaconv.lab.report.tables import as_rich, comparison_table
    from rfaconv.lab.study import Grid, default_out
    from rfaconv.lab.training.device import resolve_device

    sources = [*([request.data] if request.data else []), *request.sources]
    out = (request.out or default_out([s.removeprefix("folder:") for s in sources])).expanduser()
    execution = Execution(out, request.jobs, resolve_device(request.device), request.on)
    study = _study(request, operators, seeds)
    signal.signal(signal.SIGTERM, terminate)
    with RichProgress() as progress:
        results = compare(Grid(study), execution, progress)
    if request.as_json:
        sys.stdout.write(strict_json(results))
        return
    console = Console()
    for name in results["recipes"]:
        console.print(as_rich(comparison_table(results, name)))
        for line in sentences(results, name):
            style = "yellow" if line.startswith("Warning") else None
            console.print(line, highlight=False, markup=False, style=style)
    for line in (
        f"\n{out / 'report.html'} has curves and costs;",
        f"{out / 'results.json'} the numbers, table.csv, .md and .tex the table.",
    ):
        console.print(line, highlight=False, markup=False)


def _study(
    request: Request, operators: tuple[str, ...] | None, seeds: tuple[int, ...] | None
) -> Study:
    from rfaconv.lab.study import Study, read_study

    recipes: list[str | dict[str, Any]] = list(request.sources)
    if request.data is not None:
        recipes.insert(0, _named(request.data))
    study = Study()
    if len(request.sources) == 1 and request.sources[0].endswith((".yaml", ".yml")):
        found = read_study(Path(request.sources[0]))
        study = Study(recipes=(request.sources[0],)) if found is None else found
    elif recipes:
        study = Study(recipes=tuple(recipes))
    changes: dict[str, Any] = {"operators": operators, "seeds": seeds, "task": request.task}
    changes = {key: value for key, value in changes.items() if value is not None}
    return study.model_copy(update={**changes, "set": (*study.set, *request.overrides)})


def _named(data: str) -> str | dict[str, Any]:
    """The small network on a set by its name, with a schedule that suits most."""
    if data in ("digits", "eurosat-sample"):
        return data
    name = Path(data).name if data.startswith("folder:") else data
    return {
        "base": "digits", "name": name, "data": {"name": data}, "optimizer": {"lr": 0.1},
        "epochs": 10,
    }  # fmt: skip


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves in an orderly way, so that training processes are stopped too."""
    print("error: terminated; the same command goes on where it stopped", file=sys.stderr)
    raise SystemExit(128 + number)
