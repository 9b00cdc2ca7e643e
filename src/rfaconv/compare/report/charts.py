"""The charts of the report as SVG: learning curves, differences, accuracy against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rfaconv.compare.report import svg
from rfaconv.compare.report.svg import Frame
from rfaconv.compare.results import against_baseline
from rfaconv.compare.summary import accuracy_text, difference_text


def colour(name: str) -> str:
    """CSS of the colour of an operator."""
    return f"var(--op-{name})"


def legend(names: Sequence[str]) -> str:
    """Coloured names above the charts."""
    items = (
        f'<span class="key"><i style="background:{colour(name)}"></i>{name}</span>'
        for name in names
    )
    return f'<p class="legend">{"".join(items)}</p>'


def curves_by_operator(results: Mapping[str, Any], field: str) -> dict[str, list[list[float]]]:
    """Per operator one curve per seed, of ``train_loss``, ``val_loss`` or ``val_top1``."""
    curves: dict[str, list[list[float]]] = {}
    for run in results["runs"]:
        values = [record[field] for record in run["curve"]]
        curves.setdefault(run["operator"], []).append(values)
    return curves


def curve_chart(
    results: Mapping[str, Any], field: str, title: str, factor: float = 1.0, first: int = 1
) -> str:
    """Mean over seeds of a curve per operator from epoch ``first`` on; a band spans the seeds."""
    curves = curves_by_operator(results, field)
    scaled = {
        name: [[factor * value for value in curve[first - 1 :]] for curve in group]
        for name, group in curves.items()
    }
    epochs = results["settings"]["epochs"]
    values = [value for group in scaled.values() for curve in group for value in curve]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.5
    ceiling = min(high + margin, factor) if field == "val_top1" else high + margin
    last = max(first + 1, epochs)
    frame = Frame((first, last), (max(0.0, low - margin), ceiling), left=64)
    whole = sorted({round(tick) for tick in svg.ticks(first, last, 6)} | {first})
    if len(whole) > 2 and 2 * (whole[1] - whole[0]) < whole[2] - whole[1] + 1:
        del whole[1]  # too near to the first epoch to be read
    parts = frame.axes("epoch", title, whole)
    for name, group in scaled.items():
        columns = list(zip(*group, strict=True))
        at = [frame.px(epoch) for epoch in range(first, first + len(columns))]
        upper = [(x, frame.py(max(column))) for x, column in zip(at, columns, strict=True)]
        lower = [(x, frame.py(min(column))) for x, column in zip(at, columns, strict=True)]
        if len(group) > 1:
            parts.append(svg.area([*upper, *reversed(lower)], f"fill:{colour(name)}"))
        means = [sum(column) / len(column) for column in columns]
        points = [(x, frame.py(mean)) for x, mean in zip(at, means, strict=True)]
        parts.append(svg.path(points, f"stroke:{colour(name)}"))
        parts.extend(
            svg.dot(x, y, 2.2, f"fill:{colour(name)}", f"{name}, epoch {epoch}: {mean:.4g}")
            for epoch, ((x, y), mean) in enumerate(zip(points, means, strict=True), start=first)
        )
    return frame.draw(parts, f"{title} over epochs")


def difference_chart(results: Mapping[str, Any]) -> str:
    """Differences from the baseline with their intervals; small dots are the single seeds."""
    rows = against_baseline(results)
    baseline = results["settings"]["baseline"]
    base = results["operators"][baseline]["top1"]
    if not rows:
        return ""
    single = {
        name: [100 * (a - b) for a, b in zip(results["operators"][name]["top1"], base, strict=True)]
        for name in rows
    }
    reach = [0.0]
    for name, row in rows.items():
        half = row["half_width"] or 0.0
        reach += [100 * (row["mean"] - half), 100 * (row["mean"] + half), *single[name]]
    low, high = min(reach), max(reach)
    margin = 0.06 * (high - low) or 0.5
    step = 34
    height = 60 + step * len(rows)
    frame = Frame((low - margin, high + margin), (0, 1), 720, height, 84, 190, 10, 46)
    bottom = height - frame.bottom
    parts = []
    positions = svg.ticks(*frame.x, 7)
    for value in positions:
        at = frame.px(value)
        parts.append(svg.line(at, frame.top, at, bottom, "grid"))
        parts.append(svg.text(at, bottom + 16, svg.label(value, positions), "tick", "middle"))
    zero = frame.px(0.0)
    parts.append(svg.line(zero, frame.top, zero, bottom, "zero"))
    middle = (frame.left + frame.width - frame.right) / 2
    title = f"top-1 minus that of {baseline}, percentage points"
    parts.append(svg.text(middle, height - 8, title, "axis", "middle"))
    for index, (name, row) in enumerate(rows.items()):
        y = frame.top + step * (index + 0.5)
        shade = f"fill:{colour(name)}"
        parts.append(svg.text(frame.left - 12, y + 4, name, "name", "end", shade))
        mean = 100 * row["mean"]
        if row["half_width"] is not None:
            half = 100 * row["half_width"]
            ends = frame.px(mean - half), frame.px(mean + half)
            parts.append(svg.line(ends[0], y, ends[1], y, "bar", f"stroke:{colour(name)}"))
            parts.extend(
                svg.line(end, y - 5, end, y + 5, "bar", f"stroke:{colour(name)}") for end in ends
            )
        parts.extend(
            svg.dot(frame.px(value), y, 2.6, "", f"seed {seed}: {value:+.2f}", "seed")
            for seed, value in zip(results["settings"]["seeds"], single[name], strict=True)
        )
        tip = f"{name}: {difference_text(row)} points, {row['verdict']}"
        parts.append(svg.dot(frame.px(mean), y, 5.5, shade, tip))
        beside = frame.width - frame.right + 14
        parts.append(svg.text(beside, y - 2, difference_text(row), "value"))
        parts.append(svg.text(beside, y + 12, row["verdict"], "tick"))
    return frame.draw(parts, title)


def cost_chart(results: Mapping[str, Any], value: Callable[[str], float], title: str) -> str:
    """Mean accuracy of every operator over a cost; names stand beside, joined by a thin line."""
    names = results["settings"]["operators"]
    costs = {name: value(name) for name in names}
    means = {name: 100 * results["operators"][name]["top1_mean"] for name in names}
    stds = {name: 100 * (results["operators"][name]["top1_std"] or 0.0) for name in names}
    low = min(means[name] - stds[name] for name in names)
    high = min(100.0, max(means[name] + stds[name] for name in names))
    margin = 0.08 * (high - low) or 0.5
    left, right = min(costs.values()), max(costs.values())
    pad = 0.08 * (right - left) or 0.1 * abs(right) or 1.0
    frame = Frame((left - pad, right + pad), (low - margin, high + margin), left=68, right=76)
    parts = frame.axes(title, "top-1, %", svg.ticks(left - pad, right + pad, 4))
    ceiling, floor = frame.top + 6, frame.height - frame.bottom - 2
    places = svg.spread([frame.py(means[name]) for name in names], 15, ceiling, floor)
    edge = frame.width - frame.right
    for name, place in zip(names, places, strict=True):
        x, y = frame.px(costs[name]), frame.py(means[name])
        shade = colour(name)
        parts.append(svg.path([(x, y), (edge, place), (edge + 6, place)], "", "leader"))
        if stds[name]:
            top = frame.py(min(means[name] + stds[name], frame.y[1]))
            base = frame.py(max(means[name] - stds[name], frame.y[0]))
            parts.append(svg.line(x, top, x, base, "bar", f"stroke:{shade}"))
        tip = f"{name}: {accuracy_text(results['operators'][name])}%, {costs[name]:.4g}"
        parts.append(svg.dot(x, y, 5.5, f"fill:{shade}", tip))
        parts.append(svg.text(edge + 10, place + 4, name, "name", style=f"fill:{shade}"))
    return frame.draw(parts, f"accuracy against {title}")
