"""The content of ``results.json`` from the parts of a finished grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rfaconv.lab.progress import Cell
from rfaconv.lab.statistics import CONFIDENCE, mean_and_std, paired_difference
from rfaconv.lab.store import SCHEMA

SMALLEST = 1e-3
"""No mean average precision or intersection over union is taken for better known than this."""


def assemble(
    settings: Mapping[str, Any],
    pairs: Mapping[Cell, Mapping[str, Any]],
    cost: Mapping[str, Any],
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Puts everything together.

    ``settings``, ``recipes`` and ``runs`` are functions of the settings: a run that was interrupted
    has the same ones as a run that was not, and ``digest`` names them. ``measured`` (times, memory
    and what depends on them) and ``environment`` differ from run to run.

    Args:
        settings: as plain values.
        pairs: contents of the pair files, complete.
        cost: content of ``cost.json``.
        data: images by recipe.
        environment: versions and machine.
    """
    recipes, measured = {}, {}
    for name in settings["recipes"]:
        results = {
            operator: [pairs[Cell(name, operator, seed)] for seed in settings["seeds"]]
            for operator in settings["operators"]
        }
        recipes[name] = _recipe(name, settings, results, cost[name], data[name])
        measured[name] = _measured(settings, results, cost[name], recipes[name])
    fixed: dict[str, Any] = {
        "settings": dict(settings),
        "recipes": recipes,
        "runs": [{**cell._asdict(), **value["result"]} for cell, value in pairs.items()],
    }
    canonical = json.dumps(fixed, sort_keys=True, allow_nan=False).encode()
    return {
        "schema": SCHEMA,
        "digest": hashlib.sha256(canonical).hexdigest(),
        **fixed,
        "measured": measured,
        "environment": dict(environment),
    }


Results = Mapping[str, Sequence[Mapping[str, Any]]]


def _recipe(
    name: str, settings: Mapping[str, Any], results: Results, cost: Mapping[str, Any], data: Any
) -> dict[str, Any]:
    first = next(iter(results.values()))[0]["result"]
    score_name = first["score_name"]
    operators = {}
    for operator, pairs in results.items():
        scores = [pair["result"][score_name] for pair in pairs]
        mean, std = mean_and_std(scores)
        operators[operator] = {
            "scores": scores, "mean": mean, "std": std,
            "steps": pairs[0]["result"]["steps"], "epochs": len(pairs[0]["result"]["curve"]),
            **cost[operator]["exact"], **cost[operator]["matched"],
        }  # fmt: skip
    resolution = 1 / first["images"] if score_name == "top1" else SMALLEST
    every = {operator: row["scores"] for operator, row in operators.items()}
    return {
        "task": settings["recipes"][name]["task"],
        "score_name": score_name,
        "classes": list(data.classes),
        "train_images": len(data.train),
        "val_images": first["images"],
        "problems": list(data.problems),
        "operators": operators,
        "differences": differences(every, resolution),
        "resolution": resolution,
    }


def _measured(
    settings: Mapping[str, Any],
    results: Results,
    cost: Mapping[str, Any],
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    rows = {
        operator: {
            **cost[operator]["measured"],
            "train_seconds": [pair["measured"]["seconds"] for pair in pairs],
        }
        for operator, pairs in results.items()
    }
    return {"operators": rows, "equal_time": _equal_time(settings, results, rows, recipe)}


def _equal_time(
    settings: Mapping[str, Any],
    results: Results,
    rows: Mapping[str, Mapping[str, Any]],
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    """Scores when the quickest training ends, by steps as they were timed in turns.

    The others are then within their schedules, before their learning rates have come down;
    ``long`` is the baseline whose schedule ends there.
    """
    name = recipe["score_name"]
    times = {
        operator: row["steps"] / row["epochs"] * rows[operator]["step_ms"] / 1e3
        for operator, row in recipe["operators"].items()
    }
    budget = min(times[operator] * recipe["operators"][operator]["epochs"] for operator in times)
    scores = {}
    for operator, pairs in results.items():
        epochs = max(1, int(budget / times[operator] + 1e-6))
        scores[operator] = [pair["result"]["curve"][epochs - 1][name] for pair in pairs]
    return {
        "seconds": budget,
        "scores": scores,
        "differences": [
            row
            for row in differences(scores, recipe["resolution"])
            if row["baseline"] == settings["baseline"]
        ],
    }


def differences(scores: Mapping[str, Sequence[float]], resolution: float) -> list[dict[str, Any]]:
    """Every operator against every other, seed by seed."""
    rows = []
    for base, other in scores.items():
        for name, values in scores.items():
            if name == base:
                continue
            found = paired_difference(values, other, resolution)
            rows.append(
                {
                    "operator": name,
                    "baseline": base,
                    "mean": found.mean,
                    "half_width": found.half_width,
                    "confidence": CONFIDENCE,
                    "verdict": found.verdict,
                }
            )
    return rows


def against(rows: Sequence[Mapping[str, Any]], baseline: str) -> dict[str, Mapping[str, Any]]:
    """Per operator its difference from a baseline; the baseline itself is not in it."""
    return {row["operator"]: row for row in rows if row["baseline"] == baseline}
