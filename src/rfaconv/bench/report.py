"""Results as a table, as strict JSON, as a picture."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["geometric_means", "plot", "table", "write_json"]

MIB = 2**20


def geometric_means(results: Mapping[str, Any]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Geometric mean and worst of the median ratios over the layers.

    Returns:
        By operator, mode and side; sides with a layer that was not measured are left out.
    """
    groups: dict[tuple[str, str, str], list[float | None]] = {}
    for row in results["rows"]:
        key = (row["operator"], row["mode"], row["side"])
        value = row["ratio"]["median"] if row["status"] == "ok" else None
        groups.setdefault(key, []).append(value)
    means = {}
    for key, values in groups.items():
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            means[key] = (math.exp(sum(map(math.log, known)) / len(known)), max(known))
    return means


def table(results: Mapping[str, Any]) -> Table:
    """A Rich table with one line per case and side."""
    from rich.table import Table

    env, settings = results["environment"], results["settings"]
    out = Table(
        title=f"batch {settings['batch']}, {env['threads']} threads, {env['processor']}, "
        f"{settings['clock']} time",
        caption="median of alternating runs; ratio to conv with quartiles; floor: least arithmetic",
    )
    for name in ("case", "operator", "mode", "side"):
        out.add_column(name)
    for name in ("ms", "x conv", "quartiles", "floor", "saved MiB", "peak MiB"):
        out.add_column(name, justify="right")
    for row in results["rows"]:
        head = (row["case"], row["operator"], row["mode"], row["side"])
        if row["status"] != "ok":
            out.add_row(*head, row["status"], row["note"][:60])
            continue
        ratio = row["ratio"]
        floor = row["floor"] if row["side"] == "fused" else None
        out.add_row(
            *head,
            f"{row['ms']['median']:.3f}",
            f"{ratio['median']:.2f}",
            f"{ratio['q1']:.2f}–{ratio['q3']:.2f}",
            f"{floor:.2f}" if floor else "",
            f"{row['saved_bytes'] / MIB:.1f}" if "saved_bytes" in row else "",
            f"{row['peak_bytes'] / MIB:.0f}" if "peak_bytes" in row else "",
        )
    for (operator, mode, side), (mean, worst) in geometric_means(results).items():
        if side != "conv":
            text = f"{mean:.2f}"
            out.add_row("geometric mean", operator, mode, side, "", text, f"worst {worst:.2f}")
    return out


def _replace(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    os.replace(part, path)


def write_json(results: Mapping[str, Any], path: Path) -> None:
    """Writes strict JSON (no NaN), whole or not at all."""
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    _replace(path, lambda part: part.write_text(text, encoding="utf-8"))


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draws the ratio to the convolution per case as a PNG (extra ``plot``)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    good = [row for row in results["rows"] if row["status"] == "ok" and row["side"] != "conv"]
    panels = list(dict.fromkeys((row["operator"], row["mode"]) for row in good))
    cases = list(dict.fromkeys(row["case"] for row in good))
    sides = list(dict.fromkeys(row["side"] for row in good))
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.5 * len(panels), 0.6 * len(cases) + 2),
        squeeze=False,
        sharey=True,
    )
    height = 0.8 / max(len(sides), 1)
    for axis, (operator, mode) in zip(axes[0], panels, strict=True):
        for i, side in enumerate(sides):
            rows = {
                row["case"]: row
                for row in good
                if (row["operator"], row["mode"], row["side"]) == (operator, mode, side)
            }
            places = [cases.index(name) + i * height for name in rows]
            medians = [row["ratio"]["median"] for row in rows.values()]
            low = [row["ratio"]["median"] - row["ratio"]["q1"] for row in rows.values()]
            high = [row["ratio"]["q3"] - row["ratio"]["median"] for row in rows.values()]
            axis.barh(places, medians, height, xerr=[low, high], label=side)
        axis.axvline(1.0, color="black", linewidth=1)
        axis.set_xscale("log")
        axis.set_xlabel("time relative to the convolution")
        axis.set_title(f"{operator}, {mode}")
    axes[0][0].set_yticks([i + 0.4 for i in range(len(cases))], cases)
    axes[0][0].invert_yaxis()
    axes[0][-1].legend()
    figure.tight_layout()
    _replace(path, lambda part: figure.savefig(part, format="png", dpi=120))
    plt.close(figure)
