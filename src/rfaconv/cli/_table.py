"""A finished comparison as a Rich table and some sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from rfaconv.compare.results import against_baseline
from rfaconv.compare.summary import accuracy_text, difference_text, sentences

SHORT = {"within noise": "noise"}
STYLES = {"higher": "green", "lower": "red"}


def comparison_table(results: Mapping[str, Any]) -> Table:
    """Accuracy and cost of every operator."""
    settings = results["settings"]
    baseline = settings["baseline"]
    table = Table(
        title=f"{settings['model']} ResNet on {settings['data']}, "
        f"{_count(len(settings['seeds']), 'seed')}, {_count(settings['epochs'], 'epoch')}",
        caption=f"vs {baseline}: paired over seeds, 95% interval; ms: latency of one image;\n"
        f"MiB: tensors in a training step of {settings['batch_size']} images",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    table.add_column("operator", no_wrap=True)
    for name in (
        "top-1 %", f"vs {baseline}", "verdict", "params", "MMACs", "ms", "MiB",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    differences = against_baseline(results)
    for name in settings["operators"]:
        row, measured = results["operators"][name], results["measured"][name]
        difference = differences.get(name)
        verdict = difference["verdict"] if difference else ""
        table.add_row(
            f"[bold]{name}[/bold]",
            accuracy_text(row),
            difference_text(difference) if difference else "–",
            SHORT.get(verdict, verdict),
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.2f}",
            f"{measured['latency_ms']:.2f}",
            f"{measured['peak_mib']:.1f}",
            style=STYLES.get(verdict, ""),
        )
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def verdict_lines(results: Mapping[str, Any]) -> list[str]:
    """What the table means, in sentences."""
    return sentences(results)
