"""A finished comparison in words: what may and what may not be concluded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfaconv.lab.contenders import matched
from rfaconv.lab.costs.wide import LARGEST
from rfaconv.lab.report.tables import difference_text
from rfaconv.lab.results import against

FEW_STEPS = 200
CEILING = 0.97


def warnings(results: Mapping[str, Any], name: str) -> list[str]:
    """What makes the figures of a recipe say little."""
    rows = results["recipes"][name]["operators"]
    lines = []
    fewest = min(row["steps"] for row in rows.values())
    if fewest < FEW_STEPS:
        lines.append(
            f"Warning: {fewest} optimizer steps a training are few (below {FEW_STEPS}); networks "
            "that have hardly learned cannot be told apart. Take more epochs, more images or "
            "smaller batches."
        )
    means = [row["mean"] for row in rows.values()]
    if len(means) > 1 and min(means) >= CEILING:
        lines.append(
            f"Warning: all operators stand at the ceiling ({100 * min(means):.1f}% and more); "
            "this data cannot tell them apart. Take harder images."
        )
    return lines


def sentences(results: Mapping[str, Any], name: str) -> list[str]:
    """The verdict on a recipe, at equal epochs and at equal time."""
    settings, recipe = results["settings"], results["recipes"][name]
    baseline, count = settings["baseline"], len(settings["seeds"])
    rows = against(recipe["differences"], baseline)
    lines = warnings(results, name)
    if not rows:
        return [*lines, "One operator alone: there is nothing to compare it with."]
    if count == 1:
        lines.append("One seed: differences may be noise entirely; take three seeds or more.")
    else:
        lines += _verdicts(rows, baseline, f"At equal epochs, {count} seeds")
        timed = against(results["measured"][name]["equal_time"]["differences"], baseline)
        budget = results["measured"][name]["equal_time"]["seconds"]
        lines += _verdicts(
            timed, baseline,
            f"At equal time ({budget:.3g} s, when the quickest training ends; the others are then "
            "within their schedules)",
        )  # fmt: skip
    for operator in recipe["operators"]:
        pair = matched(operator)
        if pair is not None:
            lines.append(_matched(recipe, operator, *pair))
    if recipe["score_name"] == "top1":
        best, images = max(r["mean"] for r in recipe["operators"].values()), recipe["val_images"]
        error = 1.96 * (best * (1 - best) / images) ** 0.5
        lines.append(
            f"{images} validation images: another draw of images would move each accuracy by about "
            f"±{100 * error:.1f} points."
        )
    if recipe["problems"]:
        lines.append(f"{len(recipe['problems'])} problems of the data were passed over.")
    return lines


def _verdicts(rows: Mapping[str, Mapping[str, Any]], baseline: str, when: str) -> list[str]:
    words = (
        ("higher", "better than"),
        ("lower", "worse than"),
        ("within noise", "within noise of"),
    )
    parts = []
    for verdict, said in words:
        names = [name for name, row in rows.items() if row["verdict"] == verdict]
        if names:
            parts.append(f"{said} {baseline}: {', '.join(names)}")
    return [f"{when}: {'; '.join(parts)}."]


def _matched(recipe: Mapping[str, Any], name: str, kind: str, of: str) -> str:
    """What an operator brings against the plain network that costs as much."""
    row = against(recipe["differences"], name)[of]
    plain = recipe["operators"][name]
    made = f"trained for as long ({plain['epochs']} epochs)"
    if kind == "wide" and plain["width"] < 0.99 * LARGEST:
        made = f"widened by {plain['width']:g} to the same latency"
    elif kind == "wide":
        made = f"widened by {plain['width']:g}, the most that is tried, and still quicker"
    return (
        f"{of} against the plain network {made}: {difference_text(row)} points, {row['verdict']}."
    )
