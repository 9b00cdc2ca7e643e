"""The page's prediction is what the script computes; the benchmark runs without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rfaconv
from rfaconv.backends.registry import BACKENDS

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # the package that runs here, installed or not, with the library that it has
    environment = {**os.environ, "PYTHONPATH": str(Path(rfaconv.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_page_has_the_prediction() -> None:
    done = run("benchmarks/predict_gpu.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stdout.strip() in (ROOT / "docs" / "internals" / "gpu.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.timeout(600)
def test_benchmark_runs_without_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--smoke", "--suites", "resnet18", "--operators", "rfa"]
    sides = ["--sides", "conv", "conv-nhwc", "published", "fused"]
    done = run("benchmarks/gpu.py", "--out", str(out), *arguments, *sides)
    assert out.exists(), done.stdout + done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    told = {row["side"]: row["status"] for row in result["rows"]}
    available = BACKENDS["cpu"].status().available
    assert told == dict.fromkeys(sides[1:], "ok") | {"fused": "ok" if available else "refused"}
    assert set(result["training"]["losses"]) == {"kernels", "reference"}
    assert result["ceilings"]["copy_bytes_per_s"] > 0
    assert result["geometric_means"]["rfa inference conv-nhwc"] == 1.0
    assert result["errors"] == {}
    assert list(result["seconds"])[-1] == "geometric_means"
    # nothing runs float16 on a CPU, and without the library nothing runs at all
    failed = {row["case"] for row in result["parity"] if not row["passed"]}
    assert not available or all("-f16" in case for case in failed)


@pytest.mark.timeout(300)
def test_benchmark_survives_a_section(tmp_path: Path) -> None:
    """One section fails and no time is left for the rows: the file has all the others, and says
    so.
    """
    out = tmp_path / "gpu.json"
    code = f"""
import sys
sys.path.insert(0, "benchmarks")
import gpu

def broken(*_):
    raise ValueError("no such luck")

gpu.parity_rows = broken
gpu.ceilings = lambda *_: {{}}
arguments = ["--device", "cpu", "--smoke", "--steps", "0", "--seconds", "0", "--suites", "resnet18"]
sys.exit(gpu.main([*arguments, "--out", {str(out)!r}]))
"""
    done = run("-c", code)
    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["errors"]["parity"]["error"] == "ValueError: no such luck"
    assert len(result["no_time_for"]) == 12
    assert result["geometric_means"] == {}
