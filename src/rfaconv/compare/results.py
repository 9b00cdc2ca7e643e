"""The content of ``results.json`` from the parts of a finished comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rfaconv.compare.stats import CONFIDENCE, mean_and_std, paired_difference
from rfaconv.compare.store import SCHEMA


def assemble(
    settings: Mapping[str, Any],
    pairs: Sequence[Mapping[str, Any]],
    cost: Mapping[str, Any],
    environment: Mapping[str, Any],
    skipped: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Puts everything together.

    ``settings``, ``operators``, ``differences`` and ``runs`` are functions of the settings: a run
    that was interrupted has the same ones as a run that was not, and ``digest`` names them.
    ``measured`` (times, memory) and ``environment`` differ from run to run.

    Args:
        settings: of the comparison, as plain values.
        pairs: contents of the pair files, complete.
        cost: content of ``cost.json``.
        environment: versions and machine.
        skipped: damaged files that were left out.
        classes: class names.
    """
    operators, seeds = settings["operators"], settings["seeds"]
    found = {(pair["operator"], pair["seed"]): pair for pair in pairs}
    top1 = {name: [found[name, seed]["result"]["top1"] for seed in seeds] for name in operators}
    fixed: dict[str, Any] = {
        "settings": dict(settings),
        "classes": list(classes),
        "skipped_images": list(skipped),
        "operators": {name: _summary(top1[name], cost[name]["exact"]) for name in operators},
        "differences": _differences(top1, settings["val_images"]),
        "runs": [
            {
                "operator": name,
                "seed": seed,
                **found[name, seed]["result"],
            }
            for name in operators
            for seed in seeds
        ],
    }
    measured = {
        name: {
            **cost[name]["measured"],
            "train_seconds": [found[name, seed]["measured"]["train_seconds"] for seed in seeds],
        }
        for name in operators
    }
    canonical = json.dumps(fixed, sort_keys=True, allow_nan=False).encode()
    return {
        "schema": SCHEMA,
        "digest": hashlib.sha256(canonical).hexdigest(),
        **fixed,
        "measured": measured,
        "environment": dict(environment),
    }


def _summary(top1: Sequence[float], exact: Mapping[str, int]) -> dict[str, Any]:
    mean, std = mean_and_std(top1)
    return {"top1": list(top1), "top1_mean": mean, "top1_std": std, **exact}


def _differences(top1: Mapping[str, Sequence[float]], images: int) -> list[dict[str, Any]]:
    names = list(top1)
    rows = []
    for base in names:
        for name in names:
            if name == base:
                continue
            difference = paired_difference(top1[name], top1[base], 1 / images)
            rows.append(
                {
                    "operator": name,
                    "baseline": base,
                    "mean": difference.mean,
                    "half_width": difference.half_width,
                    "confidence": CONFIDENCE,
                    "verdict": difference.verdict,
                }
            )
    return rows


def against_baseline(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Per operator its difference from the run's baseline; the baseline itself is not in it."""
    baseline = results["settings"]["baseline"]
    return {row["operator"]: row for row in results["differences"] if row["baseline"] == baseline}
