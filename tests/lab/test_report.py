"""Tables, charts, sentences and the page of a finished comparison."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from rfaconv.lab.networks.classifiers import COMPARABLE
from rfaconv.lab.progress import Cell
from rfaconv.lab.report import write_report
from rfaconv.lab.report.sentences import sentences
from rfaconv.lab.report.tables import as_csv, as_latex, as_markdown, as_rich, comparison_table
from rfaconv.lab.report.write import Picture
from rfaconv.lab.results import assemble
from rfaconv.lab.store import Store

NAME = "a<b>&'c'_%"


def made(
    operators: tuple[str, ...] = COMPARABLE,
    seeds: int = 3,
    epochs: int = 4,
    score: str = "top1",
    scores: dict[str, float] | None = None,
    steps: int = 100,
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> float:
        return float(torch.rand((), generator=generator))

    settings = {
        "recipes": {NAME: {"task": "classify", "epochs": epochs, "batch_size": 64}},
        "operators": list(operators), "baseline": operators[0], "seeds": list(range(seeds)),
    }  # fmt: skip
    pairs, cost = {}, {}
    for place, name in enumerate(operators):
        exact = {"parameters": 70_000, "macs": 500_000, "attention_parameters": 1,
                 "attention_macs": 2}  # fmt: skip
        measured = {"latency_ms": 1 + draw(), "step_ms": 5.0 * (1 + place),
                    "images_per_second": 1e4, "peak_mib": 2 + draw()}  # fmt: skip
        kind = name.partition("-")[0]
        matched = {"wide": {"width": 1.5}, "long": {"epochs": epochs}}.get(kind, {})
        cost[name] = {"exact": exact, "measured": measured, "matched": matched}
        for seed in range(seeds):
            mean = (scores or {}).get(name, 0.5) + 0.001 * draw()
            curve = [
                {"epoch": e, "steps": steps * (e + 1), "train_loss": 2 - draw(),
                 "val_loss": None, score: mean - 0.01 * (epochs - 1 - e)}
                for e in range(epochs)
            ]  # fmt: skip
            result = {"score_name": score, score: mean, "images": 200, "steps": steps * epochs,
                      "curve": curve}  # fmt: skip
            value = {"result": result, "measured": {"seconds": draw()}}
            pairs[Cell(NAME, name, seed)] = value
    data = SimpleNamespace(classes=("a", "b"), train=range(1000), problems=("x<y.png: no image",))
    environment = {"device": "a <machine>", "packages": {"torch": "2"}, "rfaconv": "0"}
    return assemble(settings, pairs, {NAME: cost}, {NAME: data}, environment)


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("operators", "seeds", "epochs"),
    [(("conv", "rfa", "features", "wide-rfa"), 3, 7), (("rfa", "ca"), 1, 1), (("rfa",), 2, 2)],
)
def test_page_is_whole_and_fetches_nothing(
    operators: tuple[str, ...], seeds: int, epochs: int, tmp_path: Path
) -> None:
    picture = Picture("gates <1>", "where & what", b"\x89PNG")
    results = made(operators, seeds, epochs)
    assert write_report(Store(tmp_path), results, {NAME: [picture]}) == []
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    without = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href)=['\"](?!data:)|url\(|@import|<script|<link", without)
    assert not re.search(r"href=\"(?!#)|<script|<image[^>]*http", text)
    for bad in ("a<b>", "x<y.png", "gates <1>", "None", "nan"):
        assert bad not in re.sub(r"base64,[^\"]*", "", without)
    for name in operators:
        assert f"</i>{name}</td>" in text
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    charts = {"curves", "cost", *(["differences"] if len(operators) > 1 else [])}
    assert names == {f"{chart}.{kind}" for chart in charts for kind in ("svg", "png")}
    assert (tmp_path / "plots/cost.png").read_bytes()[:4] == b"\x89PNG"


def test_one_table_in_every_form() -> None:
    table = comparison_table(made(), NAME)
    rows = list(csv.DictReader(io.StringIO(as_csv([table, table]))))
    assert len(rows) == 2 * len(COMPARABLE)
    assert [row["operator"] for row in rows[:7]] == list(COMPARABLE)
    assert float(rows[1]["macs"]) == 500_000 and rows[0]["difference_mean"] == ""
    assert float(rows[1]["mean"]) == pytest.approx(0.5, abs=2e-3)
    lines = [line for line in as_markdown([table]).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(COMPARABLE)
    assert len({line.count("|") for line in lines}) == 1
    latex = as_latex([table])
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    assert {line.count(" & ") for line in body.splitlines() if r" \\" in line} == {10}
    assert r"\_\%" in latex and "±" not in latex
    assert not re.search(r"(?<!\\)[%_]", latex.split("\n", 1)[1])


def test_no_difference_is_no_negative_one() -> None:
    scores = {"conv": 0.5, "rfa": 0.5}
    results = made(("conv", "rfa"), scores=scores)
    for row in results["recipes"][NAME]["differences"]:
        row["mean"] = -1e-9
    assert comparison_table(results, NAME).rows[1][2].startswith("+0.00 ±")


def test_what_may_be_concluded() -> None:
    names = ("conv", "rfa", "ca", "wide-rfa", "long-rfa")
    scores = {"conv": 0.50, "rfa": 0.60, "ca": 0.40, "wide-rfa": 0.55, "long-rfa": 0.60}
    text = " ".join(sentences(made(names, scores=scores), NAME))
    assert "At equal epochs, 3 seeds: better than conv: rfa" in text
    assert "worse than conv: ca" in text
    assert "At equal time (2 s, when the quickest training ends" in text
    assert re.search(r"widened by 1.5 to the same latency: \+[45]\.\d\d ± .* higher", text)
    assert re.search(r"for as long \(4 epochs\): [+-]0\.\d\d ± .* within noise", text)
    assert "Warning" not in text
    assert "another draw of images would move each accuracy by about ±6.8 points" in text


def test_equal_time_is_read_off_the_curves() -> None:
    # a step of ca takes twice as long, of rfa three times: 2 and 1 of 4 epochs
    results = made(("conv", "ca", "rfa"), seeds=1, epochs=4)
    timed = results["measured"][NAME]["equal_time"]
    assert timed["seconds"] == pytest.approx(4 * 100 * 5e-3)
    curves = {run["operator"]: [row["top1"] for row in run["curve"]] for run in results["runs"]}
    assert timed["scores"] == {"conv": [curves["conv"][3]], "ca": [curves["ca"][1]],
                               "rfa": [curves["rfa"][0]]}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 10}, "40 optimizer steps a training are few"),
        ({"scores": {"conv": 0.98, "rfa": 0.99}}, "all operators stand at the ceiling (98."),
    ],
)
def test_warnings(options: dict[str, Any], said: str) -> None:
    lines = sentences(made(("conv", "rfa"), **options), NAME)
    assert any(line.startswith("Warning: ") and said in line for line in lines)


def test_scores_by_their_names() -> None:
    table = comparison_table(made(("conv", "rfa"), score="miou"), NAME)
    assert table.heads[1] == "mIoU %" and "Points of mIoU" in table.note


def test_the_terminal_cuts_nothing() -> None:
    names = ("conv", "rfcbam", "features", "wide-rfcbam", "long-rfcbam")
    console = Console(width=80, file=io.StringIO(), legacy_windows=False)
    console.print(as_rich(comparison_table(made(names), NAME)))
    text = console.file.getvalue()
    assert "…" not in text and "wide-rfcbam" in text and "images/s" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_terminal_shows_names_as_they_are() -> None:
    console = Console(width=120, file=io.StringIO())
    table = dataclasses.replace(comparison_table(made(("conv",)), NAME), title="[old] set")
    console.print(as_rich(table))
    assert "[old] set" in console.file.getvalue()
