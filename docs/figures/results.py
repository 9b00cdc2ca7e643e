"""Committed results as the figures need them."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ORDER = ("cam", "cbam", "ca", "rfa", "rfcbam", "rfca")


def load(name: str) -> Any:
    """A JSON file under ``benchmarks/results``."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Difference:
    """Operator less convolution over paired seeds, in points.

    Attributes:
        mean: of the differences.
        half: half the width of the 95% interval of Student's t; None for one seed.
        seeds: how many pairs.
        corrected: half the width where the intervals of a table share the error of 5%
            (Bonferroni).
    """

    mean: float
    half: float | None
    seeds: int
    corrected: float | None = None


def difference(
    ours: dict[int, float], plain: dict[int, float], comparisons: int = 1
) -> Difference | None:
    """The paired difference of scores in [0, 1] by seed; None without a common seed."""
    from scipy.stats import t

    pairs = [100 * (ours[seed] - plain[seed]) for seed in sorted(set(ours) & set(plain))]
    if not pairs:
        return None
    half = corrected = None
    if len(pairs) > 1:
        error = statistics.stdev(pairs) / math.sqrt(len(pairs))
        half, corrected = (
            float(t.ppf(1 - 0.025 / m, len(pairs) - 1)) * error for m in (1, comparisons)
        )
    return Difference(statistics.fmean(pairs), half, len(pairs), corrected)


def classification(data: str) -> tuple[dict[str, Difference], int]:
    """Differences of ``benchmarks/accuracy.py`` on a set, and the epochs."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    epochs = 0
    for path in sorted((RESULTS / "accuracy").glob(f"operators-{data}-*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        scores[run["run"]["case"]][run["run"]["seed"]] = run["result"]["top1"]
        epochs = run["recipe"]["schedule"]["epochs"]
    return _differences(scores), epochs


def task(folder: str, key: str) -> tuple[dict[str, Difference], int]:
    """Differences of the runs of a folder by their score ``key``, and the epochs."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    epochs = 0
    for path in sorted((RESULTS / folder).glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        scores[run["operator"]][run["seed"]] = run[key]
        epochs = run["epochs"]
    return _differences(scores), epochs


def compared(name: str) -> tuple[dict[str, Difference], int]:
    """Differences of the one recipe of a file of ``rfaconv compare``, and the epochs."""
    found = load(name)
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for run in found["runs"]:
        scores[run["operator"]][run["seed"]] = run[run["score_name"]]
    ((_, recipe),) = found["recipes"].items()
    return _differences(scores, len(scores) - 1), recipe["operators"]["conv"]["epochs"]


def ablation(first: str, second: str) -> Difference:
    """First less second case of the ablations on EuroSAT, in points."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for table in ("ablations", "operators"):
        for path in sorted((RESULTS / "accuracy").glob(f"{table}-eurosat-*.json")):
            run = json.loads(path.read_text(encoding="utf-8"))
            scores[run["run"]["case"]][run["run"]["seed"]] = run["result"]["top1"]
    found = difference(scores[first], scores[second])
    assert found is not None
    return found


def _differences(
    scores: dict[str, dict[int, float]], comparisons: int = 0
) -> dict[str, Difference]:
    names = [name for name in ORDER if name in scores]
    share = comparisons or len(names)
    found = {name: difference(scores[name], scores["conv"], share) for name in names}
    return {name: one for name, one in found.items() if one is not None}


def layers(name: str, operator: str, side: str, mode: str) -> float:
    """Geometric mean of time over the convolution's, of a file of ``rfaconv bench``."""
    ratios = [
        row["ratio"]["median"]
        for row in load(name)["rows"]
        if (row["operator"], row["side"], row["mode"], row["status"])
        == (operator, side, mode, "ok")
    ]
    return statistics.geometric_mean(ratios)
