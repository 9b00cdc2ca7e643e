"""Charts of a comparison by matplotlib; SVG and PNG from one drawing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from rfaconv.lab.results import against
from rfaconv.lab.tasks.base import TITLES

COLOURS = {
    "conv": "#555555", "cam": "#8c6bb1", "cbam": "#c51b8a", "ca": "#1b9e77", "rfa": "#d95f02",
    "rfcbam": "#1f78b4", "rfca": "#b2182b", "features": "#a6761d", "unfold": "#66a61e",
    "rfa-values": "#e7298a",
}  # fmt: skip
_STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "svg.hashsalt": "rfaconv", "svg.fonttype": "path",
}  # fmt: skip


def colour(operator: str) -> str:
    """The operator's colour in every chart; of a matched baseline, that of what it is matched to.

    Example:
        >>> colour("wide-rfa") == colour("rfa")
        True
    """
    return COLOURS.get(operator) or COLOURS.get(operator.rpartition("-")[2], "#000000")


def charts(results: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """Every chart of one recipe, by the name of its file."""
    with rc_context(_STYLE):
        drawn = {"curves": _curves(results, name), "cost": _costs(results, name)}
        if len(results["recipes"][name]["operators"]) > 1:
            drawn["differences"] = _differences(results, name)
    return drawn


def as_svg(figure: Figure) -> str:
    """The drawing for a page: without a declaration in front."""
    text = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def as_png(figure: Figure) -> bytes:
    """The drawing for slides."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def _curves(results: Mapping[str, Any], name: str) -> Figure:
    recipe = results["recipes"][name]
    score = recipe["score_name"]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for operator in recipe["operators"]:
        curves = [r["curve"] for r in results["runs"]
                  if (r["recipe"], r["operator"]) == (name, operator)]  # fmt: skip
        style = {"color": colour(operator), "linestyle": _line(operator), "label": operator}
        for axes, key, factor in ((left, score, 100.0), (right, "train_loss", 1.0)):
            columns = [[factor * row[key] for row in rows] for rows in zip(*curves, strict=True)]
            epochs = range(1, len(columns) + 1)
            axes.plot(epochs, [fmean(c) for c in columns], marker=".", **style)
            axes.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns],
                              color=style["color"], alpha=0.12, linewidth=0)  # fmt: skip
    left.set(xlabel="epoch", ylabel=f"validation {TITLES[score]}, %")
    right.set(xlabel="epoch", ylabel="training loss")
    left.legend(fontsize=8, frameon=False)
    return figure


def _differences(results: Mapping[str, Any], name: str) -> Figure:
    recipe, baseline = results["recipes"][name], results["settings"]["baseline"]
    rows = against(recipe["differences"], baseline)
    base = recipe["operators"][baseline]["scores"]
    figure = Figure(figsize=(6, 0.9 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#555555", linewidth=1)
    for place, (operator, row) in enumerate(rows.items()):
        seeds = [100 * (a - b) for a, b in
                 zip(recipe["operators"][operator]["scores"], base, strict=True)]  # fmt: skip
        half = 100 * (row["half_width"] or 0.0)
        axes.errorbar(100 * row["mean"], place, xerr=half or None, fmt="o", markersize=7,
                      color=colour(operator), capsize=3)  # fmt: skip
        axes.plot(seeds, [place] * len(seeds), "|", color=colour(operator), alpha=0.8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"points of {TITLES[recipe['score_name']]} against {baseline}")
    return figure


def _costs(results: Mapping[str, Any], name: str) -> Figure:
    recipe, measured = results["recipes"][name], results["measured"][name]["operators"]
    rows = recipe["operators"]
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    places = figure.subplots(2, 2, sharey=True).flat
    costs = (
        ("million multiply-adds", {n: row["macs"] / 1e6 for n, row in rows.items()}),
        ("thousand parameters", {n: row["parameters"] / 1e3 for n, row in rows.items()}),
        ("latency of one image, ms", {n: measured[n]["latency_ms"] for n in rows}),
        ("memory of a training step, MiB", {n: measured[n]["peak_mib"] for n in rows}),
    )
    for axes, (label, values) in zip(places, costs, strict=True):
        for operator, row in rows.items():
            std = None if row["std"] is None else 100 * row["std"]
            axes.errorbar(values[operator], 100 * row["mean"], yerr=std, fmt="o",
                          color=colour(operator), capsize=2)  # fmt: skip
            axes.annotate(operator, (values[operator], 100 * row["mean"]), (5, 4),
                          textcoords="offset points", fontsize=8)  # fmt: skip
        axes.set_xlabel(label)
    figure.supylabel(f"{TITLES[recipe['score_name']]}, %", fontsize=9)
    return figure


def _line(operator: str) -> str:
    return {"wide": "--", "long": ":"}.get(operator.partition("-")[0], "-")
