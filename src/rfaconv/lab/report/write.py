"""Everything that is made from ``results.json``: one page, tables, charts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rfaconv.files import write_atomic
from rfaconv.lab.report.sentences import sentences
from rfaconv.lab.report.tables import Table, as_csv, as_latex, as_markdown, comparison_table
from rfaconv.lab.store import Store
from rfaconv.lab.training.run_folder import flat

SHOWN = 50


@dataclass(frozen=True)
class Picture:
    """A picture of the page: a title, a sentence, and PNG."""

    title: str
    text: str
    content: bytes

    @property
    def png(self) -> str:
        """For an address in the page."""
        return base64.b64encode(self.content).decode()


def write_report(
    store: Store,
    results: Mapping[str, Any],
    pictures: Mapping[str, Sequence[Picture]] | None = None,
) -> list[str]:
    """Writes tables, ``report.html`` and ``plots/``; returns what could not be made.

    Args:
        store: the results folder.
        results: content of results.json.
        pictures: of every recipe, for the page.
    """
    tables = {name: comparison_table(results, name) for name in results["recipes"]}
    several = list(tables.values())
    for name, text in (
        ("table.csv", as_csv(several)),
        ("table.md", as_markdown(several)),
        ("table.tex", as_latex(several)),
    ):
        write_atomic(store.root / name, text)
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        return ["no report.html and plots: they need matplotlib and jinja2"]
    from rfaconv.lab.report import figures

    drawn: dict[str, dict[str, str]] = {}
    folder = store.root / "plots"
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(tables):
        prefix = "" if len(tables) == 1 else f"{index}-"
        drawn[name] = {}
        for chart, figure in figures.charts(results, name).items():
            svg = drawn[name][chart] = figures.as_svg(figure)
            write_atomic(folder / f"{prefix}{chart}.svg", svg)
            write_atomic(folder / f"{prefix}{chart}.png", figures.as_png(figure))
    text = page(results, tables, drawn, pictures or {})
    write_atomic(store.root / "report.html", text)
    return []


def page(
    results: Mapping[str, Any],
    tables: Mapping[str, Table],
    charts: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """One page with everything in it, nothing fetched from anywhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from rfaconv.lab.report.figures import colour

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    parts = []
    for name, table in tables.items():
        recipe = results["recipes"][name]
        rows = recipe["operators"]
        others = len(rows) - 1
        parts.append(
            {
                "table": table,
                "sentences": sentences(results, name),
                "charts": {"differences": "", **charts[name]},
                "pictures": pictures.get(name, ()),
                "problems": recipe["problems"][:SHOWN],
                "best": max(rows, key=lambda operator: rows[operator]["mean"]),
                "resolution": f"{100 * recipe['resolution']:.2g}",
                "others": others,
                "chance": f"{100 * (1 - 0.95**others):.0f}",
            }
        )
    machine = dict(results["environment"])
    packages = machine.pop("packages", {})
    machine["packages"] = ", ".join(f"{k} {v}" for k, v in packages.items() if v)
    settings = {key: _plain(value) for key, value in flat(results["settings"]).items()}
    return (
        environment.get_template("page.html.j2").render(
            title=f"Attention convolutions on {', '.join(tables)}",
            parts=parts,
            colour=colour,
            baseline=results["settings"]["baseline"],
            device=machine.get("device"),
            digest=results["digest"][:16],
            facts={"Settings": settings, "Machine and versions": machine},
        )
        + "\n"
    )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
