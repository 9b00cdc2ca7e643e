"""Learning curves of the judged grid: at equal epochs, and at equal time."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from docs.figures.evidence import NAMES, grid
from docs.figures.svg import Sheet

LOWEST = 40
"""Per cent; below it curves are steep and say nothing."""

LEGEND = 6
"""Names in a row of the legend."""


def curves(scheme: str, language: str) -> Sheet:
    """Mean top-1 over the seeds that are finished, of every operator of the grid."""
    value = grid()
    assert value is not None
    sheet = Sheet(760, 330, "", scheme, language)
    sheet.title = sheet.say(
        "Learning curves on EuroSAT at equal epochs and at equal time",
        "EuroSAT 上的学习曲线：按轮数与按时间",
    )
    lines = {operator: _line(value, operator) for operator in value["operators"]}
    least = min(max(LOWEST, 100 * one[len(one) // 3]) for one, _ in lines.values())
    bottom, top = 5 * int(least // 5), 5 * -(-max(100 * max(one) for one, _ in lines.values()) // 5)
    panels = (
        (48.0, sheet.say("epochs", "轮数"), dict.fromkeys(lines, 1.0)),
        (408.0, sheet.say("training time, 1 = that of the convolution", "训练时间，普通卷积为 1"),
         {o: _share(value, o) for o, _ in lines.items()}),
    )  # fmt: skip
    for left, label, steps in panels:
        most = max(steps[operator] * len(one) for operator, (one, _) in lines.items())
        _panel(sheet, left, label, most, (bottom, top))
        for operator, (one, role) in lines.items():
            points = [
                (left + steps[operator] * (i + 1) / most * 320, _y(100 * top1, bottom, top))
                for i, top1 in enumerate(one)
                if 100 * top1 >= bottom
            ]
            sheet.path(points, role, arrow=False)
    for i, (operator, (_, role)) in enumerate(lines.items()):
        x, y = 48 + 110 * (i % LEGEND), 312 + 20 * (i // LEGEND)
        sheet.line(x, y, x + 14, y, role, 2.4)
        sheet.text(x + 18, y + 4, NAMES.get(operator, operator), 12, anchor="start")
    sheet.height = 330 + 20 * ((len(lines) - 1) // LEGEND)
    return sheet


def _line(value: Mapping[str, Any], operator: str) -> tuple[list[float], str]:
    own = [row["curve"] for row in value["runs"] if row["operator"] == operator]
    means = [fmean(epoch["top1"] for epoch in epochs) for epochs in zip(*own, strict=True)]
    return means, operator


def _share(value: Mapping[str, Any], operator: str) -> float:
    """Of the convolution's whole training, what an epoch takes."""
    cost, baseline = value["cost"], value["settings"]["baseline"]
    ratio: float = cost[operator]["measured"]["step_ms"] / cost[baseline]["measured"]["step_ms"]
    epochs = next(len(r["curve"]) for r in value["runs"] if r["operator"] == baseline)
    return ratio / epochs


def _y(percent: float, bottom: float, top: float) -> float:
    return 268 - (percent - bottom) / (top - bottom) * 236


def _panel(sheet: Sheet, left: float, label: str, most: float, height: tuple[float, float]) -> None:
    bottom, top = height
    step = 5 if top - bottom <= 30 else 10
    for tick in range(int(bottom), int(top) + 1, step):
        y = _y(tick, bottom, top)
        sheet.line(left, y, left + 320, y, "line", 0.5, dashed=True)
        sheet.text(left - 8, y + 4, f"{tick}", 11, "muted", "end")
    ticks = [t for t in (10, 20, 30) if t <= most] if most > 3 else [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    for tick in ticks:
        if tick <= most + 1e-9:
            sheet.text(left + tick / most * 320, 284, f"{tick:g}", 11, "muted")
    sheet.line(left, 268, left + 320, 268, "ink", 1)
    sheet.text(left, 20, "top-1 %", 12, "muted", "start")
    sheet.text(left + 320, 20, label, 12, "muted", "end")
