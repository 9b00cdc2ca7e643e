"""Grids of every task: each pair once, killed and resumed to the same file, lost ones anew."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_own_images import masks, voc, yolo
from testing.processes import children, read_until, wait_for_end

from rfaconv.cli.main import main
from rfaconv.lab import grid as grids
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.pool import run_jobs
from rfaconv.lab.progress import Cell, Clock
from rfaconv.lab.store import Store
from rfaconv.lab.study import Grid, Study

SMALL = ("--operators", "conv,ca", "--seeds", "2", "--epochs", "2", "--limit", "64")
DIGITS = ("--data", "digits")
TINY = ["model.width=0.125", "model.size=64", "batch_size=4"]
TASKS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "detect": (voc, TINY),
    "segment": (masks, ["model.width=0.125", "batch_size=4"]),
    "yolo": (yolo, ["data.size=64", "batch_size=3", "options.mosaic=0", "options.warmup_epochs=0"]),
}


def run(out: Path, *options: str) -> int:
    return main(["compare", *DIGITS, *SMALL, "--out", str(out), *options])


def load(out: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not strict JSON")

    text = (out / "results.json").read_text(encoding="utf-8")
    value: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return value


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "run"
    assert run(out, "--jobs", "1") == 0
    return out


def test_results(finished: Path) -> None:
    results = load(finished)
    recipe, measured = results["recipes"]["digits"], results["measured"]["digits"]
    assert results["settings"]["operators"] == ["conv", "ca"]
    assert (recipe["task"], recipe["score_name"], recipe["train_images"]) == (
        "classify",
        "top1",
        64,
    )
    assert len(results["runs"]) == 4
    for name in ("conv", "ca"):
        row = recipe["operators"][name]
        assert row["mean"] == pytest.approx(sum(row["scores"]) / 2)
        assert row["parameters"] > 60_000 and row["steps"] == 2
        assert set(measured["operators"][name]) == {
            "latency_ms", "step_ms", "images_per_second", "peak_mib", "train_seconds",
        }  # fmt: skip
    assert {"rfaconv", "commit", "packages", "device"} <= set(results["environment"])
    assert recipe["differences"][0]["verdict"] in ("higher", "lower", "within noise")
    assert [row["operator"] for row in measured["equal_time"]["differences"]] == ["ca"]
    for name in ("report.html", "plots/curves.png", "plots/cost.svg", "plots/differences.png"):
        assert (finished / name).stat().st_size > 1000
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Where the networks look" in page and "What their gates let through" in page
    with (finished / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["operator"] for row in rows] == ["conv", "ca"]
    assert float(rows[1]["mean"]) == recipe["operators"]["ca"]["mean"]
    # the first seed's networks stay, for pictures
    assert sorted(path.name for path in (finished / "runs").iterdir()) == [
        "digits-ca-seed0", "digits-conv-seed0",
    ]  # fmt: skip


def test_the_runs_of_all_seeds_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "recipes: [digits]\noperators: [conv]\nseeds: [0, 5]\nkeep: all\n", encoding="utf-8"
    )
    words = ["data.limit=32", "--epochs", "1", "--jobs", "1", "--out", str(tmp_path / "out")]
    assert main(["compare", str(study), *words]) == 0
    for seed in (0, 5):
        assert (
            evaluate_run(tmp_path / f"out/runs/digits-conv-seed{seed}")["checkpoint"]
            == "epoch-0001"
        )


def test_few_steps_are_said(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finished) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Warning: 2 optimizer steps a training are few" in printed
    assert "At equal epochs, 2 seeds" in printed and "At equal time" in printed


def test_started_again_it_trains_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grids, "train_cell", None)
    before = (finished / "results.json").read_bytes()
    assert run(finished, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == load(finished)
    assert "4 of 4 trainings are there" in printed.err
    assert (finished / "results.json").read_bytes() == before


def test_costs_measured_anew_are_in_the_results(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    before = load(out)
    (out / "cost.json").unlink()
    assert run(out) == 0
    after, cost = load(out), json.loads((out / "cost.json").read_text(encoding="utf-8"))
    found = after["measured"]["digits"]["operators"]["conv"]
    assert found["latency_ms"] == cost["digits"]["conv"]["measured"]["latency_ms"]
    for key in ("digest", "settings", "recipes", "runs"):
        assert after[key] == before[key]


def test_another_run_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert run(finished, "--epochs", "3") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: out: expected")
    assert "recipes.digits.epochs=3" in error
    assert "recipes.digits.epochs=2" in error
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_a_comparison_takes_more_operators_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["compare", *DIGITS, "--epochs", "1", "--limit", "64", "--jobs", "1", "--out", str(out)]
    assert main([*words, "--operators", "cam,ca,wide", "--seeds", "1"]) == 0
    before, matched = load(out), json.loads((out / "cost.json").read_text(encoding="utf-8"))
    train, trained = grids.train_cell, []

    def noting(job: Any, on_epoch: Any = None) -> Any:
        trained.append(Path(job["out"]).name)
        return train(job, on_epoch)

    monkeypatch.setattr(grids, "train_cell", noting)
    more = ["--operators", "conv,cam,ca,wide", "--seeds", "2"]
    assert main([*words, *more]) == 0
    assert trained == [
        "digits-conv-seed0", "digits-conv-seed1", "digits-cam-seed1", "digits-ca-seed1",
        "digits-wide-cam-seed1",
    ]  # fmt: skip
    after = load(out)
    kept = [run for run in after["runs"] if run["seed"] == 0 and run["operator"] != "conv"]
    assert kept == before["runs"]
    assert (before["settings"]["baseline"], after["settings"]["baseline"]) == ("cam", "conv")
    cost = json.loads((out / "cost.json").read_text(encoding="utf-8"))["digits"]
    assert list(cost) == ["conv", "cam", "ca", "wide-cam"]
    # what a baseline was trained with is not matched again
    assert cost["wide-cam"]["matched"] == matched["digits"]["wide-cam"]["matched"]
    # a part of what is there would be another table
    capsys.readouterr()
    unchanged = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    for fewer, lost in (
        (["--operators", "conv,ca", "--seeds", "2"], "operators without cam,wide-cam"),
        ([*more[:-1], "1"], "seeds without 1"),
    ):
        assert main([*words, *fewer]) == 2
        error = capsys.readouterr().err
        assert "a part of it" in error
        assert lost in error
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == unchanged


@pytest.mark.parametrize("task", TASKS)
def test_every_task_stopped_and_resumed_to_the_same_file(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if task != "segment":
        pytest.importorskip("ultralytics" if task == "yolo" else "pycocotools")
    make, options = TASKS[task]
    make(tmp_path / "own")
    words = ["compare", str(tmp_path / "own"), "--task", task, "--operators", "conv,rfa",
             "--seeds", "2", "--epochs", "1", "--jobs", "1", "--out", str(tmp_path / "out"),
             *options]  # fmt: skip
    train, trained = grids.train_cell, []

    def stopping(job: Any, on_epoch: Any = None) -> Any:
        trained.append(job["out"])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(job, on_epoch)

    monkeypatch.setattr(grids, "train_cell", stopping)
    assert main(words) == 130
    assert not (tmp_path / "out/results.json").exists()
    assert main(words) == 0
    assert len(trained) == 5 and len(set(trained)) == 4
    results = load(tmp_path / "out")
    name = {"detect": "map", "segment": "miou", "yolo": "map"}[task]
    assert {run["score_name"] for run in results["runs"]} == {name}
    assert all(0 <= run[name] <= 1 and run["steps"] >= 1 for run in results["runs"])
    capsys.readouterr()
    # one pair trained anew ends with the same numbers
    file = tmp_path / "out/pairs/own-rfa-seed1.json"
    before = json.loads(file.read_text(encoding="utf-8"))["result"]
    file.unlink()
    assert main(words) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["result"] == before
    assert load(tmp_path / "out")["digest"] == results["digest"]


@pytest.mark.nightly  # half a minute: three processes start
def test_a_lost_process_is_replaced(tmp_path: Path) -> None:
    overrides = ("data.limit=64", "epochs=25")
    study = Study(recipes=("digits",), operators=("conv", "ca"), seeds=(0,), set=overrides)
    grid = Grid(study)
    recipe = grid.recipes["digits"]
    jobs = {
        cell: {
            "recipe": recipe.model_dump(mode="json"), "out": str(tmp_path / cell.operator),
            "accelerator": "cpu",
        }
        for cell in grid.cells
    }  # fmt: skip
    killed, found = 0, {}
    for event in run_jobs(jobs, workers=2, threads=1):
        if event is not None:
            found[event[0]] = event[1]
        elif not killed and any((tmp_path / n / "metrics.csv").exists() for n in ("conv", "ca")):
            killed = children(os.getpid())[-1]
            os.kill(killed, signal.SIGKILL)
    assert killed
    assert list(found) and set(found) == set(grid.cells)
    assert {len(value["result"]["curve"]) for value in found.values()} == {25}
    # equal recipes give equal numbers, in whatever process and after whatever was lost
    assert found[grid.cells[0]]["result"] == found[grid.cells[1]]["result"]


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_and_started_again_it_ends_with_the_same_numbers(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    source = str(Path(sys.modules["rfaconv"].__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    command = [
        sys.executable,
        "-m",
        "rfaconv.cli.main",
        "compare",
        *DIGITS,
        *SMALL,
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        [*command, "--jobs", "2"], env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    )
    read_until(process.stderr, "[1/4]")
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (out / "results.json").exists()
    wait_for_end(workers)
    kept = {p.name: p.read_bytes() for p in out.glob("pairs/*.json")}
    assert run(out, "--jobs", "1") == 0
    ours, theirs = load(out), load(finished)
    assert ours["digest"] == theirs["digest"]
    assert {k for k in ours if ours[k] != theirs[k]} <= {"measured", "environment"}
    for name, content in kept.items():
        assert (out / "pairs" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--operators", "rfcbm"], "operators: expected one of"),
        (["--operators", ","], "operators: expected one name or several"),
        (["--operators", "rfa,rfa"], "operators: expected each name once"),
        (["--operators", "conv,wide"], "operators: expected wide-OPERATOR of one"),
        (["--model", "resnet81"], "model: expected small or a network of timm (did you mean"),
        (["--seeds", "1.5"], "seeds: expected a count such as 3"),
        (["--epochs", "0"], "epochs: expected greater than or equal to 1"),
        (["--data", "digit"], "data: expected one of digits"),
        (["--data", "folder:/no/such"], "data: expected folder:PATH"),
        (["--data", "cifar10", "--root", "/no/such"], "root: expected a folder that holds cifar10"),
        (["--image-size", "1"], "data.image_size: expected greater than or equal to 4"),
        (["--device", "cuda:77"], "device: expected"),
        (["--backend", "cpux"], "model.backend: expected 'auto'"),
        (["--lr", "-1"], "optimizer.lr: expected greater than 0"),
        (["--jobs", "0"], "jobs: expected 1 or more"),
        (["--on", "moon"], "on: expected one of local, ray"),
        (["--task", "detect"], "task: expected that of eurosat-sample, classify"),
        (["--epochs", "many"], "Invalid value for '--epochs'"),
        (["--epoch", "3"], "No such option"),
        (["nowhere"], "recipe: expected one of"),
        (["digits", "modle.name=small"], "modle: expected a known key"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "run"
    assert main(["compare", "--out", str(out), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert not out.exists()


def test_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    conv, rfa = Cell("digits", "conv", 0), Cell("digits", "rfa", 0)
    clock = Clock({conv: 10.0, rfa: 30.0}, jobs=2)
    assert clock.remaining() == 20  # 40 s of work for two processes
    clock.advance(conv, 0.1)
    now[0] += 6
    clock.advance(rfa, 0.1)
    # 3 s of predicted work took 6 s; 36 are left
    assert clock.remaining() == pytest.approx(72)
    clock.advance(conv, 1.0)
    clock.advance(rfa, 1.0)
    assert clock.remaining() == 0


def test_damaged_pair(tmp_path: Path) -> None:
    from rfaconv.errors import InvalidArgument

    store, cell = Store(tmp_path), Cell("digits", "rfa", 0)
    store.open({})
    assert store.pair(cell) is None
    store.finish_pair(cell, {"result": {}, "measured": {}}, keep=True)
    assert store.pair(cell) == {"result": {}, "measured": {}}
    for text in ("{", "[]", "{}", ""):
        (tmp_path / "pairs/digits-rfa-seed0.json").write_text(text, encoding="utf-8")
        with pytest.raises(InvalidArgument, match=r"in .*digits-rfa-seed0.json"):
            store.pair(cell)
