"""The charts as PNG files, for papers and slides; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rfaconv.compare.maps import AttentionMaps
from rfaconv.compare.report.charts import curves_by_operator
from rfaconv.compare.report.svg import spread
from rfaconv.compare.results import against_baseline
from rfaconv.files import write_atomic

COLOURS = {
    "conv": "#6b7280", "cam": "#2f7fbf", "cbam": "#2a9d8f", "ca": "#7a9a1f", "rfa": "#d9480f",
    "rfcbam": "#c2255c", "rfca": "#7048b8",
}  # fmt: skip


def write_plots(
    folder: Path, results: Mapping[str, Any], maps: Mapping[str, AttentionMaps]
) -> None:
    """Writes curves.png, differences.png, cost.png and attention.png into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"curves": _curves(results), "cost": _cost(results)}
    if len(results["operators"]) > 1:
        figures["differences"] = _differences(results)
    if any(shown.gate is not None for shown in maps.values()):
        figures["attention"] = _attention(results, maps)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=150)
        write_atomic(folder / f"{name}.png", buffer.getvalue())


def _curves(results: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    kinds = (("val_top1", "validation top-1, %", 100.0), ("train_loss", "training loss", 1.0))
    for axis, (field, title, factor) in zip(axes, kinds, strict=True):
        for name, group in curves_by_operator(results, field).items():
            columns = [[factor * v for v in column] for column in zip(*group, strict=True)]
            epochs = range(1, len(columns) + 1)
            means = [sum(column) / len(column) for column in columns]
            axis.plot(epochs, means, color=COLOURS[name], label=name, linewidth=1.8)
            low, high = map(min, columns), map(max, columns)
            axis.fill_between(epochs, list(low), list(high), color=COLOURS[name], alpha=0.12)
        axis.set(xlabel="epoch", ylabel=title)
        _plain(axis)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _differences(results: Mapping[str, Any]) -> Figure:
    rows = against_baseline(results)
    figure = Figure(figsize=(7, 0.8 + 0.42 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for index, (name, row) in enumerate(rows.items()):
        half = 100 * (row["half_width"] or 0.0)
        mean = 100 * row["mean"]
        axis.errorbar(mean, -index, xerr=half, color=COLOURS[name], fmt="o", capsize=4)
    axis.set_yticks([-index for index in range(len(rows))], list(rows))
    axis.axvline(0, color="#888888", linewidth=1)
    baseline = results["settings"]["baseline"]
    axis.set(xlabel=f"top-1 minus that of {baseline}, points (95% interval)")
    _plain(axis)
    return figure


def _cost(results: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    operators, measured = results["operators"], results["measured"]
    kinds = (
        ("million multiply-adds", {n: row["macs"] / 1e6 for n, row in operators.items()}),
        ("latency of one image, ms", {n: measured[n]["latency_ms"] for n in operators}),
    )
    for axis, (title, costs) in zip(axes, kinds, strict=True):
        names = list(operators)
        means = [100 * operators[name]["top1_mean"] for name in names]
        stds = [100 * (operators[name]["top1_std"] or 0.0) for name in names]
        for name, mean, std in zip(names, means, stds, strict=True):
            axis.errorbar(costs[name], mean, yerr=std, color=COLOURS[name], fmt="o", capsize=3)
        low, high = axis.get_ylim()
        # names in a column at the right, kept apart, joined to their points by thin lines
        places = spread(means, (high - low) / 14, low, high)
        right = axis.get_xlim()[1]
        for name, mean, place in zip(names, means, places, strict=True):
            axis.annotate(
                name,
                (costs[name], mean),
                (right, place),
                color=COLOURS[name],
                fontsize=9,
                va="center",
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": "#cccccc", "linewidth": 0.7},
            )
        axis.set(xlabel=title, ylabel="top-1, %")
        _plain(axis)
    return figure


def _attention(results: Mapping[str, Any], maps: Mapping[str, AttentionMaps]) -> Figure:
    names = [n for n in results["settings"]["operators"] if n in maps and maps[n].gate is not None]
    shown = maps[names[0]]
    count = len(shown.images)
    figure = Figure(figsize=(1.1 * (len(names) + 1), 1.1 * count + 0.4), layout="constrained")
    axes = figure.subplots(count, len(names) + 1, squeeze=False)
    for row in range(count):
        pixels = shown.images[row].permute(1, 2, 0).numpy()
        axes[row][0].imshow(pixels, cmap="gray")
        for column, name in enumerate(names, start=1):
            gate = maps[name].gate
            assert gate is not None
            reach = max(float((gate - 1).abs().max()), 1e-12)
            axes[row][column].imshow(gate[row].numpy(), "RdBu_r", vmin=1 - reach, vmax=1 + reach)
    for column, title in enumerate(["image", *names]):
        axes[0][column].set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e5e5e5", linewidth=0.7)
    axis.set_axisbelow(True)
