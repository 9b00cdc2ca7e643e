"""The findings of ``rfaconv doctor`` as text: whole at any width, since nothing is in a narrow
column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

STEPS = ("inference", "training")


def show(report: Mapping[str, Any]) -> None:
    """Prints the findings."""
    console = Console(highlight=False)
    commit = f", commit {report['commit'][:10]}" if report["commit"] else ""
    _line(console, 0, ("bold", f"rfaconv {report['rfaconv']}"), ("", f"{commit}"))
    _line(console, 0, ("", f"Python {report['python']}, {report['platform']}"))

    _title(console, "Packages")
    found = [f"{name} {version}" for name, version in report["packages"].items() if version]
    missing = [name for name, version in report["packages"].items() if not version]
    _line(console, 2, ("", ", ".join(found)))
    if missing:
        _line(console, 2, ("dim", f"not installed: {', '.join(missing)}"))

    _title(console, "Devices")
    for row in report["devices"]:
        details = ", ".join(filter(None, (row["name"], row["detail"])))
        _line(console, 2, ("bold", f"{row['device']}: "), ("", details))

    _title(console, "Backends, in order of choice")
    for row in report["backends"]:
        _backend(console, row)

    _title(console, "One layer of each operator, forward and backward")
    for row in report["layers"]:
        _layer(console, row)

    if report["environment"]:
        _title(console, "Environment")
        for name, value in report["environment"].items():
            _line(console, 2, ("", f"{name}={value}"))
    if report["selftest"]:
        _selftest(console, report["selftest"])


def _line(console: Console, indent: int, *parts: tuple[str, str]) -> None:
    text = Text(overflow="fold")
    for style, part in parts:
        text.append(part, style)
    console.print(Padding(text, (0, 0, 0, indent), expand=False))


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold underline", markup=False)


def _backend(console: Console, row: Mapping[str, Any]) -> None:
    details = dict(row["details"])
    if row["reason"] is None:
        _line(console, 2, ("bold", f"{row['name']}: "), ("green", "available"))
    else:
        said = ("", f" {row['reason']}")
        _line(console, 2, ("bold", f"{row['name']}: "), ("yellow", "not available:"), said)
        details.pop("reason", None)
    log = details.pop("log", "")
    for name, value in details.items():
        _line(console, 6, ("dim", f"{name}: "), ("", value))
    if log:
        _line(console, 6, ("dim", "all that the compiler said:"))
        for line in log.splitlines():
            _line(console, 8, ("", line))


def _layer(console: Console, row: Mapping[str, Any]) -> None:
    name = ("bold", f"{row['backend']}, {row['operator']}: ")
    failed = {step: row[step] for step in STEPS if row[step] is not None}
    if not failed:
        passed_by = f", passed by unless named: {row['hesitation']}" if row["hesitation"] else ""
        _line(console, 2, name, ("green", "ok"), ("", f" on {row['device']}{passed_by}"))
    for step, error in failed.items():
        _line(console, 2, name, ("red", f"{step} FAILED "), ("", f"on {row['device']}: {error}"))


def _selftest(console: Console, rows: list[Mapping[str, Any]]) -> None:
    _title(console, "Self-test")
    marks = {True: ("green", "passed"), False: ("red", "FAILED"), None: ("yellow", "refused")}
    for row in rows:
        name = ("", f"{row['backend']}, {row['case']}: ")
        _line(console, 2, name, marks[row["passed"]], ("dim", f" {row['detail']}"))
