"""One table of a comparison, and its forms: terminal, HTML, CSV, Markdown, LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table as RichTable

from rfaconv.lab.results import against
from rfaconv.lab.tasks.base import TITLES

SCORES = 6
"""The first columns are of scores, the others of costs."""
TEXTS = (0, 3)
"""Columns of words."""
STYLES = {"higher": "green", "lower": "red"}
_SHORT = {"within noise": "noise"}


@dataclass(frozen=True)
class Table:
    """Rows of text, the same in all forms, and the numbers behind them.

    Attributes:
        title: what was compared.
        note: what the columns mean.
        heads: of the columns; the first is the operator.
        rows: text.
        verdicts: of every row, the empty text for the baseline.
        numbers: of every row, by name, for CSV.
    """

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    verdicts: tuple[str, ...]
    numbers: tuple[Mapping[str, Any], ...]


def comparison_table(results: Mapping[str, Any], name: str) -> Table:
    """Score and cost of every operator with one recipe of ``results.json``."""
    recipe, measured = results["recipes"][name], results["measured"][name]
    settings, baseline = results["settings"], results["settings"]["baseline"]
    title = TITLES[recipe["score_name"]]
    paired = against(recipe["differences"], baseline)
    timed = against(measured["equal_time"]["differences"], baseline)
    rows, verdicts, numbers = [], [], []
    for operator, row in recipe["operators"].items():
        cost = measured["operators"][operator]
        difference, at_time = paired.get(operator), timed.get(operator)
        verdict = difference["verdict"] if difference else ""
        verdicts.append(verdict)
        seconds = sum(cost["train_seconds"]) / len(cost["train_seconds"])
        rows.append(
            (
                operator,
                spread_text(row["mean"], row["std"]),
                difference_text(difference),
                _SHORT.get(verdict, verdict) or "–",
                difference_text(at_time),
                f"{row['steps']:,}",
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e6:,.1f}",
                f"{cost['latency_ms']:.2f}",
                f"{cost['images_per_second']:,.0f}",
                f"{cost['peak_mib']:.1f}",
            )
        )
        numbers.append(
            {
                "recipe": name,
                "task": recipe["task"],
                "operator": operator,
                "score": recipe["score_name"],
                "seeds": len(row["scores"]),
                "mean": row["mean"],
                "std": row["std"],
                **_numbers("difference", difference),
                **_numbers("equal_time", at_time),
                "verdict": verdict,
                "epochs": row["epochs"],
                "steps": row["steps"],
                "parameters": row["parameters"],
                "macs": row["macs"],
                "latency_ms": cost["latency_ms"],
                "images_per_second": cost["images_per_second"],
                "peak_mib": cost["peak_mib"],
                "train_seconds": seconds,
            }
        )
    seeds = len(settings["seeds"])
    base = settings["recipes"][name]
    return Table(
        f"{name} ({recipe['task']}), {_count(seeds, 'seed')}, {_count(base['epochs'], 'epoch')}, "
        f"{recipe['train_images']:,} images to learn from, {recipe['val_images']:,} to judge on",
        f"Points of {title}: mean ± standard deviation over the seeds; against {baseline} paired "
        "over the seeds with the 95% interval, after all epochs and when the quickest training "
        "ends. ms: latency of one image. images/s and MiB: a training step of "
        f"{base['batch_size']} images.",
        ("operator", f"{title} %", f"vs {baseline}", "verdict", "equal time", "steps", "params",
         "MMACs", "ms", "images/s", "MiB"),
        tuple(rows), tuple(verdicts), tuple(numbers),
    )  # fmt: skip


def spread_text(mean: float, std: float | None) -> str:
    """Mean and spread in percent.

    Example:
        >>> spread_text(0.98123, 0.004)
        '98.12 ± 0.40'
    """
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def difference_text(difference: Mapping[str, Any] | None) -> str:
    """Mean difference and half its interval in points; never minus zero.

    Example:
        >>> difference_text({"mean": -0.00001, "half_width": 0.02})
        '+0.00 ± 2.00'
    """
    if difference is None:
        return "–"
    mean = round(100 * difference["mean"], 2) + 0.0
    half = difference["half_width"]
    return f"{mean if mean else 0.0:+.2f}" + ("" if half is None else f" ± {100 * half:.2f}")


def as_rich(table: Table) -> Group:
    """For a terminal of 80 columns: scores, then costs."""
    shown = []
    for title, caption, columns in (
        (table.title, None, range(SCORES)),
        (None, table.note, (0, *range(SCORES, len(table.heads)))),
    ):
        part = RichTable(
            title=title and escape(title), caption=caption, box=box.SIMPLE, show_edge=False,
            padding=(0, 1), collapse_padding=True,
        )  # fmt: skip
        for index in columns:
            part.add_column(
                table.heads[index], justify="left" if index in TEXTS else "right", no_wrap=True
            )
        for row, verdict in zip(table.rows, table.verdicts, strict=True):
            cells = [row[index] for index in columns]
            style = STYLES.get(verdict, "") if title else ""
            part.add_row(f"[bold]{cells[0]}[/bold]", *cells[1:], style=style)
        shown.append(part)
    return Group(*shown)


def as_csv(tables: list[Table]) -> str:
    """Numbers, not texts: one line for each recipe and operator."""
    text = io.StringIO()
    rows = [row for table in tables for row in table.numbers]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(tables: list[Table]) -> str:
    """Tables for a README."""
    parts = []
    for table in tables:
        heads = "| " + " | ".join(table.heads) + " |"
        rule = "|" + "|".join("---" if i in TEXTS else "--:" for i in range(len(table.heads))) + "|"
        rows = ["| " + " | ".join(row) + " |" for row in table.rows]
        parts.append("\n".join([f"**{table.title}**", "", heads, rule, *rows, "", table.note]))
    return "\n\n".join(parts) + "\n"


def as_latex(tables: list[Table]) -> str:
    r"""Tables for a paper, with ``\usepackage{booktabs}``."""
    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        columns = "".join("l" if i in TEXTS else "r" for i in range(len(table.heads)))
        lines = [" & ".join(map(_latex, row)) + r" \\" for row in (table.heads, *table.rows)]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_latex(table.title + '. ' + table.note)}}}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "$": r"\$",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "±": r"$\pm$", "–": "--", "×": r"$\times$",
    }  # fmt: skip
    return "".join(special.get(letter, letter) for letter in text)


def _numbers(prefix: str, difference: Mapping[str, Any] | None) -> dict[str, Any]:
    keys = ("mean", "half_width")
    return {f"{prefix}_{key}": difference[key] if difference else None for key in keys}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
