"""Suites, timing, the parity gate, and what is written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rfaconv.bench import SUITES, BenchCase, Settings, parse_suite, report, run, runner
from rfaconv.bench.memory import saved_bytes
from rfaconv.bench.timing import alternate
from rfaconv.errors import InvalidArgument

TINY = BenchCase("tiny", 4, 6, 9, 3, 2)
QUICK = Settings(sides=("conv", "published", "reference", "fused"), batch=2, seconds=0.0)


def test_resnet18_has_the_eight_layers() -> None:
    cases = SUITES["resnet18"]
    assert [(c.in_channels, c.out_channels, c.size, c.stride) for c in cases] == [
        (64, 64, 56, 1), (64, 64, 56, 1), (64, 128, 56, 2), (128, 128, 28, 1),
        (128, 256, 28, 2), (256, 256, 14, 1), (256, 512, 14, 2), (512, 512, 7, 1),
    ]  # fmt: skip
    means = math.exp(sum(math.log(c.floor) for c in cases) / 8)
    assert means == pytest.approx(1.15, abs=0.01)


@pytest.mark.parametrize("text", ["resnet81", "layer:1,2,3", "layer:a,b,c,d,e", "layer:0,1,1,1,1"])
def test_unknown_suite_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="suite"):
        parse_suite(text)


def test_layer_by_numbers() -> None:
    (case,) = parse_suite("layer:64,128,56,3,2")
    assert (case.in_channels, case.out_channels, case.size) == (64, 128, 56)
    assert case.multiply_adds == 28 * 28 * 9 * 64 * 128


class Clock:
    """Time passes only while a side runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def side(self, name: str, milliseconds: float) -> Any:
        def call() -> None:
            self.calls.append(name)
            self.now += milliseconds / 1e3

        return call


def test_sides_alternate_and_medians_are_per_call() -> None:
    clock = Clock()
    sides = {"a": clock.side("a", 10.0), "b": clock.side("b", 25.0)}
    timings = alternate(sides, "a", seconds=0.0, minimum_rounds=5, clock=clock)
    assert timings["a"].milliseconds.median == pytest.approx(10.0)
    assert timings["b"].milliseconds.median == pytest.approx(25.0)
    assert timings["b"].ratio.median == pytest.approx(2.5)
    assert clock.calls[4:] == ["a", "b", "b", "a", "a", "b", "b", "a", "a", "b"]


def test_short_calls_are_repeated() -> None:
    clock = Clock()
    timings = alternate({"a": clock.side("a", 0.5)}, "a", seconds=0.0, clock=clock)
    assert timings["a"].milliseconds.median == pytest.approx(0.5)
    assert len(clock.calls) == 2 + 7 * 8


def test_results_of_every_operator_and_mode(tmp_path: Path) -> None:
    settings = Settings(operators=("rfa", "rfcbam", "rfca"), batch=2, seconds=0.0)
    results = run([TINY], settings)
    rows = results["rows"]
    assert len(rows) == 3 * 2 * 4
    assert {row["status"] for row in rows} == {"ok"}
    training = [row for row in rows if row["mode"] == "training"]
    assert all(row["saved_bytes"] > 0 for row in training)
    path = tmp_path / "results" / "tiny.json"
    report.write_json(results, path)
    loaded = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert loaded["rows"] == json.loads(json.dumps(rows))
    assert loaded["environment"]["threads"] == torch.get_num_threads()
    assert loaded["environment"]["versions"]["torch"]
    assert [p.name for p in path.parent.iterdir()] == ["tiny.json"]


def test_no_time_without_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "gate", lambda *_: ["y: FAILED, error 1"])
    rows = {row["side"]: row for row in run([TINY], QUICK)["rows"] if row["mode"] == "inference"}
    assert rows["fused"]["status"] == "refused"
    assert "FAILED" in rows["fused"]["note"]
    assert "ms" not in rows["fused"]
    assert rows["published"]["status"] == "ok"


def test_gate_notices_a_wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runner.gate(TINY, "rfcbam", True) == []
    from rfaconv.backends import cases

    run_op = cases._run

    def wrong(case: Any, leaves: Any, fused: bool) -> Any:
        outputs = run_op(case, leaves, fused)
        return tuple(o * 1.0001 for o in outputs) if fused else outputs

    monkeypatch.setattr(cases, "_run", wrong)
    assert runner.gate(TINY, "rfcbam", False)


def test_failing_side_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = runner._prepare

    def failing(case: Any, side: str, *rest: Any) -> Any:
        if side == "published":
            raise RuntimeError("out of luck")
        return prepare(case, side, *rest)

    monkeypatch.setattr(runner, "_prepare", failing)
    rows = {row["side"]: row for row in run([TINY], QUICK)["rows"]}
    assert rows["published"]["status"] == "error"
    assert "out of luck" in rows["published"]["note"]


def test_unknown_side_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="sides"):
        run([TINY], Settings(sides=("fast",)))


def test_geometric_mean_leaves_out_what_was_not_measured() -> None:
    def row(side: str, ratio: float | None) -> dict[str, Any]:
        values = {"operator": "rfa", "mode": "inference", "side": side}
        if ratio is None:
            return {**values, "status": "error"}
        return {**values, "status": "ok", "ratio": {"median": ratio}}

    rows = [row("fused", 1.0), row("fused", 4.0), row("published", 3.0), row("published", None)]
    means = report.geometric_means({"rows": rows})
    assert means == {("rfa", "inference", "fused"): (pytest.approx(2.0), 4.0)}


def test_saved_bytes_of_a_convolution() -> None:
    """A convolution keeps its input and nothing of its size besides."""
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    assert saved_bytes(torch.nn.Conv2d(4, 6, 3), x) == x.nbytes


def test_table_and_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    results = run([TINY], Settings(sides=("conv", "fused"), batch=1, seconds=0.0))
    assert report.table(results).row_count == 2 * 2 + 2
    report.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_command_line(tmp_path: Path) -> None:
    from rfaconv.cli.main import main

    path = tmp_path / "out.json"
    words = ["bench", "layer:4,6,9,3,2", "--seconds", "0", "--batch", "1", "--mode", "inference"]
    assert main([*words, "--json", str(path)]) == 0
    assert len(json.loads(path.read_text(encoding="utf-8"))["rows"]) == 4
    assert main(["bench", "no-such-suite"]) == 2


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_bfloat16_on_all_sides(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    step = runner._step

    def spy(module: Any, x: torch.Tensor, training: bool) -> Any:
        seen.extend({x.dtype, *(p.dtype for p in module.parameters())})
        return step(module, x, training)

    monkeypatch.setattr(runner, "_step", spy)
    settings = Settings(
        operators=("rfca",), sides=("conv", "published", "fused"), modes=(mode,), batch=2,
        channels_last=True, dtype="bfloat16", seconds=0.0,
    )  # fmt: skip
    rows = run([TINY], settings)["rows"]
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert seen == [torch.bfloat16] * 3


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="dtype"):
        run([TINY], Settings(dtype="float8"))
