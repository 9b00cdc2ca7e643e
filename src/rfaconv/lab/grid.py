"""Recipes × operators × seeds: every training once, in a folder that goes on where it stopped."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from rfaconv.bench.environment import environment, limited_threads
from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.building import recipe_data, recipe_network
from rfaconv.lab.contenders import contender, matched
from rfaconv.lab.costs import Case, measure, network_cost
from rfaconv.lab.costs.wide import matched_width
from rfaconv.lab.pool import Job, run_jobs, train_cell
from rfaconv.lab.progress import Cell, Clock, Progress
from rfaconv.lab.recipes import Recipe
from rfaconv.lab.results import assemble
from rfaconv.lab.store import Store
from rfaconv.lab.study import Grid
from rfaconv.lab.tasks import LightningTask, task_named
from rfaconv.lab.tasks.base import TITLES
from rfaconv.lab.training.module import EpochRecord
from rfaconv.lab.training.run_folder import check_place, flat

MOST_JOBS = 8
Finished = tuple[Cell, dict[str, Any]]


@dataclass(frozen=True)
class Execution:
    """How a grid is carried out; changes no number.

    Attributes:
        out: results folder.
        jobs: trainings at the same time, each in a process of its own; None fills the cores.
        device: where to train, as resolved.
        on: ``local`` or ``ray``.
    """

    out: Path
    jobs: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on: str = "local"

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise InvalidArgument("jobs", "1 or more", self.jobs)
        if self.on not in ("local", "ray"):
            raise unknown_name("on", self.on, ("local", "ray"))

    @property
    def accelerator(self) -> str:
        """As Lightning calls it."""
        return {"cuda": "gpu"}.get(self.device.type, self.device.type)

    def workers(self, threads: int, pairs: int) -> int:
        """Trainings at a time."""
        if self.jobs is not None:
            return min(self.jobs, pairs)
        if self.device.type != "cpu":
            return 1
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, min((cores or 1) // threads, pairs, MOST_JOBS))


def compare(grid: Grid, execution: Execution, progress: Progress | None = None) -> dict[str, Any]:
    """Trains every pair unless it is done, and writes results and report.

    Args:
        grid: what to compare.
        execution: where to, and how many processes.
        progress: is told what happens.

    Returns:
        The content of ``results.json``.

    Raises:
        InvalidArgument: bad settings, data that cannot be read, or a results folder that holds
            another run; nothing is written then.
        TrainingDiverged: a loss became NaN or infinite.
    """
    progress = progress or Progress()
    os.environ.setdefault("YOLO_VERBOSE", "false")
    for said in grid.said:
        progress.note(said)
    data: dict[str, Any] = {}
    for name, recipe in grid.recipes.items():
        check_place(recipe, execution.out)
        data[name] = recipe_data(recipe)
        problems = data[name].problems
        if problems:
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            progress.note(f"{name}: passed over {'; '.join(problems[:3])}{more}")
    store = Store(execution.out)
    settings = _settings(grid, execution, data)
    _check(grid, execution, data)
    store.open(flat(settings))
    with store.lock():
        store.grow(flat(settings))
        cost = store.read("cost.json") or {}
        if any(cost.get(name, {}).keys() != set(grid.operators) for name in grid.recipes):
            progress.note("measuring what the networks cost")
            cost = _costs(grid, execution, data, cost)
            store.write("cost.json", cost)
        pairs = _pairs(grid, execution, data, cost, store, progress)
        results = assemble(settings, pairs, cost, data, environment(execution.device))
        earlier = store.read("results.json")
        if earlier is not None and all(
            earlier.get(k) == results[k] for k in ("digest", "measured")
        ):
            # the finished run's own record of machine and versions stays
            results = earlier
        else:
            store.write("results.json", results)
        from rfaconv.lab.report import write_report
        from rfaconv.lab.report.pictures import report_pictures

        pictures, notes = report_pictures(store, grid, data)
        for note in [*notes, *write_report(store, results, pictures)]:
            progress.note(note)
    return results


def _settings(grid: Grid, execution: Execution, data: Mapping[str, Any]) -> dict[str, Any]:
    recipes = {}
    for name, recipe in grid.recipes.items():
        values = recipe.model_dump(mode="json", exclude={"seed", "checkpoints"})
        recipes[name] = {**values, "digest": data[name].digest}
    return {
        "recipes": recipes,
        "operators": list(grid.operators),
        "baseline": grid.baseline,
        "seeds": list(grid.seeds),
        "device": execution.device.type,
    }


def _check(grid: Grid, execution: Execution, data: Mapping[str, Any]) -> None:
    """Lets every network refuse before anything is written, and a backend asked for by name."""
    for name, recipe in grid.recipes.items():
        task = task_named(recipe.task)
        for operator in grid.operators:
            plain = matched(operator) is not None
            chosen = recipe.with_model(operator="conv" if plain else operator)
            network = recipe_network(chosen, data[name])
            if getattr(recipe.model, "backend", "auto") not in ("auto", "reference"):
                with torch.no_grad():
                    example = task.example(chosen, data[name]).to(execution.device)
                    network.to(execution.device).eval()(example)


def _costs(
    grid: Grid, execution: Execution, data: Mapping[str, Any], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """Parameters and multiply-adds (exact), latency, training step and memory (measured).

    A grid that has grown is measured anew, since only times of one measurement can be compared;
    what a baseline was matched to stays, since it may be trained already.
    """
    cost: dict[str, Any] = {}
    for name, recipe in grid.recipes.items():
        found = {
            operator: dict(earlier.get(name, {}).get(operator, {}).get("matched", {}))
            for operator in grid.operators
        }
        with limited_threads(recipe.threads or 1):
            cost[name] = _cost(grid, recipe, data[name], execution.device, found)
    return cost


def _cost(
    grid: Grid, recipe: Recipe, data: Any, device: torch.device, found: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    task = task_named(recipe.task)
    for name in grid.operators:
        pair = matched(name)
        if pair is not None and pair[0] == "wide" and "width" not in found[name]:
            found[name]["width"] = matched_width(recipe, pair[1], data, device)
    cases, exact = {}, {}
    for name in grid.operators:
        pair = matched(name)
        known = {"epochs": recipe.epochs, **found[name]}
        chosen = contender(recipe, name, 0, known)
        network = recipe_network(chosen, data).to(device)
        example = move_data_to_device(task.example(chosen, data), device)
        counted = network_cost(network, example)
        exact[name] = {
            "parameters": counted.parameters,
            "macs": counted.macs,
            "attention_parameters": counted.attention_parameters,
            "attention_macs": counted.attention_macs,
        }
        loss = task.training_loss(network, chosen, data, device)
        cases[name] = Case(network, example, loss, recipe.batch_size)
    measured = measure(cases, device)
    for name in grid.operators:
        pair = matched(name)
        if pair is not None and pair[0] == "long" and "epochs" not in found[name]:
            ratio = measured[pair[1]]["step_ms"] / measured[name]["step_ms"]
            found[name]["epochs"] = max(1, round(recipe.epochs * ratio))
    return {
        name: {"exact": exact[name], "measured": measured[name], "matched": found[name]}
        for name in grid.operators
    }


def _pairs(
    grid: Grid,
    execution: Execution,
    data: Mapping[str, Any],
    cost: Mapping[str, Any],
    store: Store,
    progress: Progress,
) -> dict[Cell, dict[str, Any]]:
    """The content of every pair's file; trains those that have none."""
    found = {cell: store.pair(cell) for cell in grid.cells}
    done = {cell: value for cell, value in found.items() if value is not None}
    recipes = {
        cell: contender(
            grid.recipes[cell.recipe], cell.operator, cell.seed,
            cost[cell.recipe][cell.operator]["matched"],
        )
        for cell in grid.cells
    }  # fmt: skip
    progress.begin(len(found), len(done))
    jobs: dict[Cell, Job] = {
        cell: {
            "recipe": recipes[cell].model_dump(mode="json"), "out": str(store.run(cell)),
            "accelerator": execution.accelerator,
            # Ray shows every training its own GPU alone
            "index": 0 if execution.on == "ray" else execution.device.index or 0,
        }
        for cell in grid.cells if cell not in done
    }  # fmt: skip
    if not jobs:
        return done
    threads = max(recipes[cell].threads or 1 for cell in jobs)
    workers = execution.workers(threads, len(jobs))
    work = {
        cell: steps_of(recipes[cell], data[cell.recipe]) * recipes[cell].epochs
        * cost[cell.recipe][cell.operator]["measured"]["step_ms"] / 1e3
        for cell in jobs
    }  # fmt: skip
    show = _Show(Clock(work, workers), recipes, progress)
    if execution.on == "ray":
        from rfaconv.lab.cluster import run_on_ray

        events = run_on_ray(jobs, threads)
    elif workers > 1:
        events = run_jobs(jobs, workers, threads)
    else:
        events = _one_by_one(jobs, show)
    for event in events:
        if event is None:
            for cell in jobs.keys() - done.keys():
                show.look(cell, store.run(cell))
            continue
        cell, value = event
        store.finish_pair(cell, value, grid.keep == "all" or cell.seed == grid.seeds[0])
        done[cell] = value
        show.finished(cell, value)
    return {cell: done[cell] for cell in grid.cells}


def steps_of(recipe: Recipe, data: Any) -> int:
    """Optimizer steps of an epoch."""
    task = task_named(recipe.task)
    if isinstance(task, LightningTask):
        return task.loading(recipe, data).steps
    return -(-len(data.train) // recipe.batch_size)


def _one_by_one(jobs: Mapping[Cell, Job], show: _Show) -> Iterator[Finished]:
    for cell, job in jobs.items():

        def told(record: EpochRecord, cell: Cell = cell) -> None:
            show.epoch(cell, record)

        yield cell, train_cell(job, told)


class _Show:
    """Tells the progress of pairs, those of other processes by what they write."""

    def __init__(self, clock: Clock, recipes: Mapping[Cell, Recipe], progress: Progress) -> None:
        self.clock, self.recipes, self.progress = clock, recipes, progress
        self.seen: dict[Cell, int] = {}

    def epoch(self, cell: Cell, record: EpochRecord) -> None:
        epochs = self.recipes[cell].epochs
        self.clock.advance(cell, (record.epoch + 1) / epochs)
        self.progress.epoch(cell, record, epochs, self.clock.remaining())

    def look(self, cell: Cell, run: Path) -> None:
        try:
            with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except OSError:
            return
        if rows and len(rows) != self.seen.get(cell):
            self.seen[cell] = len(rows)
            last = rows[-1]
            score = next(float(last[name]) for name in TITLES if name in last)
            loss, steps = float(last["train_loss"]), int(last["steps"])
            self.epoch(cell, EpochRecord(len(rows) - 1, steps, loss, None, score))

    def finished(self, cell: Cell, value: Mapping[str, Any]) -> None:
        result = value["result"]
        self.clock.advance(cell, 1.0)
        self.progress.pair(
            cell, result[result["score_name"]], value["measured"]["seconds"],
            self.clock.remaining(),
        )  # fmt: skip
