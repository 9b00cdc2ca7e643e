"""A finished comparison in words; shared by terminal and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfaconv.compare.results import against_baseline


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Mean and spread in percent.

    Example:
        >>> accuracy_text({"top1_mean": 0.98123, "top1_std": 0.004})
        '98.12 ± 0.40'
    """
    mean = f"{100 * row['top1_mean']:.2f}"
    return mean if row["top1_std"] is None else f"{mean} ± {100 * row['top1_std']:.2f}"


def difference_text(difference: Mapping[str, Any]) -> str:
    """Mean difference and half its interval in percentage points.

    Example:
        >>> difference_text({"mean": -0.01, "half_width": 0.02})
        '-1.00 ± 2.00'
    """
    mean = f"{100 * difference['mean']:+.2f}"
    half = difference["half_width"]
    return mean if half is None else f"{mean} ± {100 * half:.2f}"


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What may and what may not be concluded."""
    settings = results["settings"]
    baseline = settings["baseline"]
    rows = against_baseline(results)
    count = len(settings["seeds"])
    lines = []
    if not rows:
        lines.append("One operator alone: there is nothing to compare it with.")
    elif count == 1:
        lines.append("One seed: differences may be noise entirely; take three seeds or more.")
    else:
        groups = (("higher", "better than"), ("lower", "worse than"))
        for verdict, words in groups:
            names = [name for name, row in rows.items() if row["verdict"] == verdict]
            if names:
                lines.append(f"Measurably {words} {baseline}: {', '.join(names)}.")
        noise = [name for name, row in rows.items() if row["verdict"] == "within noise"]
        if noise:
            lines.append(f"Within noise of {baseline} ({count} seeds): {', '.join(noise)}.")
    best = max(row["top1_mean"] for row in results["operators"].values())
    images = settings["val_images"]
    error = 1.96 * (best * (1 - best) / images) ** 0.5
    lines.append(
        f"{images} validation images: another draw of images would move each accuracy by about "
        f"±{100 * error:.1f} points."
    )
    if results["skipped_images"]:
        lines.append(f"{len(results['skipped_images'])} damaged image file(s) were left out.")
    return lines
