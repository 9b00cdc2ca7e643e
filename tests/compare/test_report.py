from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from rfaconv.compare.maps import AttentionMaps
from rfaconv.compare.report.page import page
from rfaconv.compare.report.svg import label, spread, ticks
from rfaconv.compare.report.write import write_report
from rfaconv.compare.results import assemble
from rfaconv.compare.store import Store
from rfaconv.training.networks import COMPARABLE


def results(
    operators: tuple[str, ...] = COMPARABLE, seeds: int = 3, epochs: int = 4
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> float:
        return float(torch.rand((), generator=generator))

    settings = {
        "data": "folder:a<b>&'c'", "model": "small", "operators": list(operators), "epochs": epochs,
        "baseline": operators[0], "seeds": list(range(seeds)), "val_images": 200,
        "train_images": 1000, "image_size": 8, "classes": 2, "batch_size": 64,
    }  # fmt: skip
    pairs, cost = [], {}
    for name in operators:
        exact = {
            "parameters": 70_000,
            "macs": 500_000,
            "attention_parameters": 1,
            "attention_macs": 2,
        }
        measured = {"latency_ms": 1 + draw(), "step_ms": 5 + draw(), "peak_mib": 2 + draw()}
        cost[name] = {"exact": exact, "measured": measured}
        for seed in range(seeds):
            curve = [
                {"epoch": e, "train_loss": 2 - draw(), "val_loss": 2 - draw(), "val_top1": draw()}
                for e in range(epochs)
            ]
            top1 = curve[-1]["val_top1"]
            result = {"top1": top1, "correct": round(200 * top1), "images": 200, "curve": curve}
            timing = {"train_seconds": draw()}
            pairs.append({"operator": name, "seed": seed, "result": result, "measured": timing})
    environment = {"device": "a <machine>", "packages": {"torch": "2"}, "rfaconv": "0"}
    return assemble(settings, pairs, cost, environment, ["x<y.png: no image"], ["a", "b"])


def maps() -> AttentionMaps:
    return AttentionMaps(
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        labels=torch.tensor([0, 1]),
        predictions=torch.tensor([0, 0]),
        gate=torch.rand(2, 8, 8) + 0.5,
        gradient=torch.rand(2, 8, 8),
        sharing=0.25,
    )


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
    ("operators", "seeds", "epochs"), [(COMPARABLE, 3, 7), (("rfa", "ca"), 1, 1), (("rfa",), 2, 2)]
)
def test_page_is_whole_and_fetches_nothing(
    operators: tuple[str, ...], seeds: int, epochs: int
) -> None:
    text = page(results(operators, seeds, epochs), {name: maps() for name in operators})
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"(src|href)=['\"](?!data:)|url\(|@import|<script|<link", text)
    assert "a<b>" not in text
    assert "x<y.png" not in text
    assert "nan" not in re.sub(r"base64,[^']*", "", text).lower()
    for name in operators:
        assert f"--op-{name}" in text


def test_without_maps_there_is_no_section_for_them() -> None:
    assert "Where the attention looks" not in page(results(), {})
    assert "Where the attention looks" in page(results(), {"rfa": maps()})


def test_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "maps").mkdir()
    maps().save(store.maps("rfa"))
    notes = write_report(store, results(("conv", "rfa")))
    assert len(notes) == 1
    assert notes[0].startswith("no attention maps of conv")
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"curves.png", "differences.png", "cost.png", "attention.png"}
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in (tmp_path / "plots").iterdir())


def test_labels_keep_their_distance_and_order() -> None:
    wanted = [10.0, 11.0, 50.0, 11.5, 98.0, 99.0]
    found = spread(wanted, 8, 0, 100)
    order = sorted(range(6), key=lambda i: wanted[i])
    gaps = [found[b] - found[a] for a, b in itertools.pairwise(order)]
    assert min(gaps) >= 8 - 1e-9
    assert min(found) >= 0
    assert max(found) <= 100
    assert found[2] == 50


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (0.981, 0.987), (66, 81), (5, 5)])
def test_ticks_are_inside_and_told_apart(low: float, high: float) -> None:
    found = ticks(low, high)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    texts = [label(tick, found) for tick in found]
    assert len(set(texts)) == len(texts)
    assert all(float(t) == pytest.approx(v, abs=1e-9) for t, v in zip(texts, found, strict=True))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_damaged_maps_are_named_and_left_out(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.maps("rfa").parent.mkdir(parents=True)
    store.maps("rfa").write_bytes(content)
    notes = write_report(store, results(("conv", "rfa")))
    assert any(note.startswith("no attention maps of rfa: ") for note in notes)
    assert (tmp_path / "report.html").is_file()
