from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testing.processes import children, read_until, wait_for_end

from rfaconv.cli.main import main

SMALL = ("--operators", "conv,ca", "--seeds", "2", "--epochs", "2", "--limit", "64")


def run(out: Path, *options: str) -> int:
    return main(["compare", *SMALL, "--out", str(out), *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "run"
    assert run(out, "--jobs", "1") == 0
    return out


def load(out: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not strict JSON")

    return json.loads((out / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_results(finished: Path) -> None:
    results = load(finished)
    assert results["settings"]["operators"] == ["conv", "ca"]
    assert results["settings"]["train_images"] == 64
    assert len(results["runs"]) == 4
    for name in ("conv", "ca"):
        row = results["operators"][name]
        assert row["top1_mean"] == pytest.approx(sum(row["top1"]) / 2)
        assert row["parameters"] > 60_000
        assert set(results["measured"][name]) == {
            "latency_ms", "step_ms", "peak_mib", "train_seconds",
        }  # fmt: skip
    assert {"rfaconv", "commit", "packages", "device"} <= set(results["environment"])
    assert results["differences"][0]["verdict"] in ("higher", "lower", "within noise")
    for name in ("report.html", "plots/curves.png", "plots/cost.png", "plots/attention.png"):
        assert (finished / name).stat().st_size > 1000
    assert not (finished / "work").exists()


def test_started_again_it_trains_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rfaconv.compare.runner.train_pair", None)
    before = (finished / "results.json").read_bytes()
    assert run(finished, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == load(finished)
    assert "4 of 4 trainings are there" in printed.err
    assert (finished / "results.json").read_bytes() == before


def test_another_run_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert run(finished, "--epochs", "3") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: out: expected")
    assert "epochs=3" in error
    assert "epochs=2" in error
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_and_started_again_it_ends_with_the_same_numbers(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    source = str(Path(sys.modules["rfaconv"].__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    command = [sys.executable, "-m", "rfaconv.cli.main", "compare", *SMALL, "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--jobs", "2"], env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    )
    read_until(process.stderr, "[1/4]")
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
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
        (["--model", "resnet81"], "model: expected small or a ResNet of timm (did you mean"),
        (["--seeds", "1.5"], "seeds: expected a count such as 3"),
        (["--epochs", "0"], "epochs: expected 1 or more, got 0"),
        (["--data", "digit"], "data: expected one of digits"),
        (["--data", "folder:/no/such"], "data: expected folder:PATH"),
        (["--data", "cifar10", "--root", "/no/such"], "root: expected a folder that holds cifar10"),
        (["--image-size", "1"], "image_size: expected pixels"),
        (["--device", "cuda:77"], "device: expected"),
        (["--backend", "cpux"], "backend: expected one of"),
        (["--lr", "-1"], "lr: expected a number above 0"),
        (["--jobs", "0"], "jobs: expected 1 or more"),
        (["--epochs", "many"], "Invalid value for '--epochs'"),
        (["--epoch", "3"], "No such option"),
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
