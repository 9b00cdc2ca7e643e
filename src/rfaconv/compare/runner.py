"""The whole comparison: settings in, results folder out; goes on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from rfaconv.compare.cost import measure
from rfaconv.compare.macs import network_cost
from rfaconv.compare.pair import network_for, train_pair
from rfaconv.compare.pool import Event, train_pairs
from rfaconv.compare.progress import Clock, Progress, Silent
from rfaconv.compare.results import assemble
from rfaconv.compare.settings import CompareSettings, Execution
from rfaconv.compare.store import Store
from rfaconv.data import ImageData, load_data
from rfaconv.training.environment import environment, limited_threads
from rfaconv.training.module import EpochRecord
from rfaconv.training.networks import check_network


def compare(
    settings: CompareSettings, execution: Execution, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains every operator with every seed, unless already done, and writes results and report.

    Args:
        settings: what to compare.
        execution: where to, and how many processes.
        progress: is told what happens.

    Returns:
        The content of ``results.json``.

    Raises:
        InvalidArgument: bad settings, data that cannot be read, or a results folder that holds
            another run; nothing is written then.
        TrainingDiverged: a loss became NaN or infinite.
    """
    progress = progress or Silent()
    check_network(settings.model)
    data = load_data(settings.data, progress.decoding)
    if data.skipped:
        shown = "; ".join(str(item) for item in data.skipped[:3])
        more = f"; and {len(data.skipped) - 3} more" if len(data.skipped) > 3 else ""
        progress.note(f"skipped {len(data.skipped)} damaged image file(s): {shown}{more}")
    _check_backend(settings, data)
    store = Store(execution.out)
    store.open(settings.as_json(data))
    try:
        with store.lock():
            return _run(settings, execution, data, store, progress)
    finally:
        if store.read("results.json") is not None:
            store.clean()


def _check_backend(settings: CompareSettings, data: ImageData) -> None:
    """Lets a backend that was asked for by name refuse before anything is written."""
    if settings.backend in ("auto", "reference"):
        return
    device = torch.device(settings.device)
    shape = (2, data.channels, data.image_size, data.image_size)
    for operator in settings.operators:
        network = network_for(settings, data, operator, 0).to(device)
        with torch.no_grad():
            network.eval()(torch.zeros(shape, device=device))


def _run(
    settings: CompareSettings,
    execution: Execution,
    data: ImageData,
    store: Store,
    progress: Progress,
) -> dict[str, Any]:
    cost = store.read("cost.json")
    if cost is None:
        cost = measure_costs(settings, data)
        store.write("cost.json", cost)
    done = {pair: store.pair(*pair) for pair in settings.pairs}
    todo = tuple(pair for pair, value in done.items() if value is None)
    progress.begin(len(done), len(done) - len(todo), settings.schedule.epochs)
    if todo:
        steps = max(1, len(data.train) // settings.schedule.batch_size)
        clock = Clock(
            {name: entry["measured"]["step_ms"] / 1e3 for name, entry in cost.items()},
            todo,
            settings.schedule.epochs,
            steps,
            execution.jobs,
        )
        events = (
            train_pairs(settings, execution, todo)
            if execution.jobs > 1 and len(todo) > 1
            else _one_by_one(settings, execution, data, todo, clock, progress)
        )
        for kind, operator, seed, value in events:
            if kind == "epoch":
                clock.advance(operator, seed, value.epoch)
                progress.epoch(operator, seed, value, clock.remaining())
            else:
                done[operator, seed] = value
                clock.advance(operator, seed, settings.schedule.epochs - 1)
                progress.pair(
                    operator,
                    seed,
                    value["result"]["top1"],
                    value["measured"]["train_seconds"],
                    clock.remaining(),
                )
    results = assemble(
        settings.as_json(data),
        [value for value in done.values() if value is not None],
        cost,
        environment(torch.device(settings.device)),
        [str(item) for item in data.skipped],
        data.classes,
    )
    earlier = store.read("results.json")
    if earlier is not None and earlier.get("digest") == results["digest"]:
        # the finished run's own record of machine and versions stays
        results = earlier
    else:
        store.write("results.json", results)
    from rfaconv.compare.report import write_report

    for note in write_report(store, results):
        progress.note(note)
    return results


def _one_by_one(
    settings: CompareSettings,
    execution: Execution,
    data: ImageData,
    pairs: tuple[tuple[str, int], ...],
    clock: Clock,
    progress: Progress,
) -> Iterator[Event]:
    for operator, seed in pairs:

        def report(record: EpochRecord, operator: str = operator, seed: int = seed) -> None:
            clock.advance(operator, seed, record.epoch)
            progress.epoch(operator, seed, record, clock.remaining())

        yield "pair", operator, seed, train_pair(settings, execution, data, operator, seed, report)


def measure_costs(settings: CompareSettings, data: ImageData) -> dict[str, Any]:
    """Parameters and multiply-adds (exact), latency, training step and memory (measured)."""
    device = torch.device(settings.device)
    image = (data.channels, data.image_size, data.image_size)
    with limited_threads(settings.threads):
        networks = {name: network_for(settings, data, name, 0) for name in settings.operators}
        exact = {}
        for name, network in networks.items():
            cost = network_cost(network, image)
            exact[name] = {
                "parameters": cost.parameters,
                "macs": cost.macs,
                "attention_parameters": cost.attention_parameters,
                "attention_macs": cost.attention_macs,
            }
            network.to(device)
        batch = min(settings.schedule.batch_size, len(data.train))
        measured = measure(networks, image, batch, device)
    return {name: {"exact": exact[name], "measured": measured[name]} for name in networks}
