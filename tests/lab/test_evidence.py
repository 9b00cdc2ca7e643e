"""A judged grid: what is compared with what, what is missing, and that nothing is found twice."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.files import strict_json
from rfaconv.lab import evidence, robustness
from rfaconv.lab.evidence import differences, grid_evidence

ROOT = Path(__file__).resolve().parents[2]
STUDY = "recipes: [digits]\noperators: [conv, rfa, features]\nseeds: 2\nkeep: all\n"
COST = {
    "conv": {"measured": {"step_ms": 10.0}},
    "rfa": {"measured": {"step_ms": 20.0}},
    "features": {"measured": {"step_ms": 15.0}},
}


def row(operator: str, seed: int, curve: list[float], **more: Any) -> dict[str, Any]:
    points = [{"train_loss": 1.0, "val_loss": 1.0, "top1": top1} for top1 in curve]
    return {"operator": operator, "seed": seed, "top1": curve[-1], "images": 1000,
            "steps": 4 * len(curve), "curve": points, "seconds": 1.0, **more}  # fmt: skip


def judged(top1: float, ece: float) -> dict[str, Any]:
    kind = {"meaning": "", "strengths": [1], "top1": [top1], "ece": [ece]}
    return {"clean": {"top1": top1, "ece": ece}, "mean": {"top1": top1, "ece": ece},
            "kinds": {"blur": kind, "noise": kind}}  # fmt: skip


def found(rows: list[dict[str, Any]], table: str) -> dict[str, dict[str, Any]]:
    return {d["operator"]: d for d in differences(rows, "conv", COST) if d["table"] == table}


def test_differences_are_paired_and_corrected_for_those_of_their_table() -> None:
    conv, rfa, features = [0.80, 0.82, 0.81], [0.85, 0.88, 0.86], [0.84, 0.87, 0.88]
    rows = [row("conv", s, [0.1, v]) for s, v in enumerate(conv)]
    rows += [row("rfa", s, [0.2, v]) for s, v in enumerate(rfa)]
    rows += [row("features", s, [0.3, v]) for s, v in enumerate(features[:2])]
    one = found(rows, "top1")
    assert one["rfa"]["mean"] == pytest.approx((0.05 + 0.06 + 0.05) / 3)
    std = 0.01 / math.sqrt(3)
    # t(0.975, 2) and, for two comparisons, t(0.9875, 2)
    assert one["rfa"]["half_width"] == pytest.approx(4.3027 * std / math.sqrt(3), rel=1e-3)
    wide = 6.2053 * std / math.sqrt(3)
    assert one["rfa"]["corrected_half_width"] == pytest.approx(wide, rel=1e-3)
    assert (one["rfa"]["comparisons"], one["rfa"]["verdict"]) == (2, "higher")
    # a training that is missing leaves the seeds that both have
    assert one["features"]["seeds"] == [0, 1]
    attention = found(rows, "attention")["rfa"]
    assert attention["baseline"] == "features"
    assert attention["mean"] == pytest.approx((0.01 + 0.01) / 2)
    assert attention["comparisons"] == 1 and attention["seeds"] == [0, 1]


def test_a_matched_baseline_is_compared_with_its_operator_alone() -> None:
    cost = {**COST, "long-rfa": COST["conv"], "wide-rfa": COST["rfa"]}
    rows = [row("conv", s, [0.1, 0.80]) for s in (0, 1)]
    rows += [row("rfa", s, [0.2, 0.85 + s / 100]) for s in (0, 1)]
    rows += [row("long-rfa", s, [0.3, 0.5, 0.6, 0.83]) for s in (0, 1)]
    rows += [row("wide-rfa", s, [0.3, 0.81]) for s in (0, 1)]
    every = differences(rows, "conv", cost)
    named = [(d["table"], d["operator"], d["baseline"]) for d in every if d["score"] == "top1"]
    assert named == [
        ("top1", "rfa", "conv"), ("wide", "rfa", "wide-rfa"), ("long", "rfa", "long-rfa"),
    ]  # fmt: skip
    (longer,) = (d for d in every if d["table"] == "long")
    assert longer["mean"] == pytest.approx(0.025) and longer["comparisons"] == 1


def test_at_equal_time_others_are_within_their_schedules() -> None:
    """The convolution takes 4 epochs of 40 ms; in that time there are 2 epochs of rfa."""
    rows = [row("conv", s, [0.1, 0.2, 0.3, 0.8]) for s in (0, 1)]
    rows += [row("rfa", s, [0.4, 0.5, 0.6, 0.9]) for s in (0, 1)]
    assert found(rows, "top1")["rfa"]["mean"] == pytest.approx(0.1)
    assert found(rows, "top1_equal_time")["rfa"]["mean"] == pytest.approx(0.5 - 0.8)


def test_kinds_share_a_table_and_frozen_gates_are_compared_with_the_same_network() -> None:
    gates = {"score": {"trained": 0.85, "constant": 0.8, "uniform": 0.5}, "entropy": 0.9,
             "between_windows": 0.1, "between_images": 0.2}  # fmt: skip
    rows = [row("conv", s, [0.8], corrupted=judged(0.6, 0.1), gates=None) for s in (0, 1)]
    rows += [row("rfa", s, [0.9], corrupted=judged(0.5, 0.3), gates=gates) for s in (0, 1)]
    kinds = [d for d in differences(rows, "conv", COST) if d["table"] == "corruptions"]
    assert [(d["score"], d["comparisons"]) for d in kinds] == [("top1_blur", 2), ("top1_noise", 2)]
    assert found(rows, "corrupted_top1")["rfa"]["mean"] == pytest.approx(-0.1)
    assert found(rows, "ece")["rfa"]["mean"] == pytest.approx(0.2)
    assert found(rows, "constant")["rfa"]["mean"] == pytest.approx(-0.05)
    uniform = found(rows, "uniform")["rfa"]
    assert (uniform["baseline"], uniform["mean"]) == ("rfa", pytest.approx(-0.35))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grid")
    (root / "study.yaml").write_text(STUDY, encoding="utf-8")
    words = ["data.limit=64", "--epochs", "1", "--jobs", "1", "--out", str(root / "out")]
    assert main(["compare", str(root / "study.yaml"), *words]) == 0
    return root / "out"


def test_a_grid_is_judged_as_far_as_it_is_finished(grid: Path, tmp_path: Path, monkeypatch) -> None:
    chosen = {"dark": robustness.CORRUPTIONS["dark"]}
    monkeypatch.setattr(robustness, "CORRUPTIONS", chosen)
    copy = tmp_path / "grid"
    shutil.copytree(grid, copy)
    (copy / "pairs/digits-features-seed1.json").unlink()
    shutil.rmtree(copy / "runs/digits-conv-seed1")
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    saved: list[int] = []
    value = grid_evidence(copy, save=lambda v: saved.append(len(v["runs"])))
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    assert not [key for key in value["settings"] if "root" in key]
    assert value["missing"] == [
        "conv, seed 1: its weights were not kept", "features, seed 1: not trained yet",
    ]  # fmt: skip
    assert saved == [1, 2, 3, 5]
    rows = {(r["operator"], r["seed"]): r for r in value["runs"]}
    assert len(rows) == 5 and "corrupted" not in rows["conv", 1]
    results = json.loads((grid / "results.json").read_text(encoding="utf-8"))
    scores = results["recipes"]["digits"]["operators"]["rfa"]["scores"]
    for seed in (0, 1):
        one = rows["rfa", seed]
        assert one["top1"] == scores[seed]
        assert one["corrupted"]["clean"]["top1"] == pytest.approx(scores[seed])
        assert one["gates"]["score"]["trained"] == pytest.approx(scores[seed])
    assert rows["features", 0]["gates"] is None
    assert value["operators"]["rfa"]["scores"]["top1"]["mean"] == pytest.approx(sum(scores) / 2)
    # the rest comes; what is known stays as it is
    again = grid_evidence(grid, json.loads(strict_json(value)), say=saved.append)  # type: ignore[arg-type]
    assert saved[4:] == ["judging conv, seed 1", "judging features, seed 1"]
    assert again["missing"] == [] and len(again["runs"]) == 6
    assert next(r for r in again["runs"] if r["operator"] == "rfa") == rows["rfa", 0]
    monkeypatch.setattr(evidence, "_judged", None)
    assert grid_evidence(grid, again)["differences"] == again["differences"]


def test_folders_that_are_no_grid_of_classifiers(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="a results folder of rfaconv compare"):
        grid_evidence(tmp_path)
    two = {"recipes.a.task": "classify", "recipes.b.task": "classify"}
    (tmp_path / "run.json").write_text(json.dumps({"settings": two}), encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"a grid of one recipe, of a classifier.*with a, b"):
        grid_evidence(tmp_path)


def test_the_script(grid: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    spec = importlib.util.spec_from_file_location("script", ROOT / "benchmarks/evidence.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    chosen = {"dark": robustness.CORRUPTIONS["dark"]}
    monkeypatch.setattr(robustness, "CORRUPTIONS", chosen)
    out = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(grid), "--json", str(out)])
    assert script.main() == 0
    assert f"6 trainings in {out}" in capsys.readouterr().out
    first = out.read_bytes()
    assert script.main() == 0
    assert out.read_bytes() == first and "judging" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(tmp_path), "--json", str(out)])
    assert script.main() == 2
    assert "a results folder of rfaconv compare" in capsys.readouterr().err
