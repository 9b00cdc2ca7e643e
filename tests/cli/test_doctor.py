"""``rfaconv doctor``: what it finds, tries and shows, whole at 80 columns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rfaconv.backends.cpu import library
from rfaconv.cli import _doctor_layers
from rfaconv.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
LONG = "/a/folder/" + "with-a-long-name/" * 8 + "librfaconv_cpu.so"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_available_backend_computes_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    available = [row["name"] for row in report["backends"] if row["reason"] is None]
    tried = {(row["backend"], row["operator"]) for row in report["layers"]}
    assert tried == {(b, o) for b in available for o in ("rfa", "rfcbam", "rfca")}
    assert all(row[step] is None for row in report["layers"] for step in ("inference", "training"))
    assert main(["doctor"]) == 0
    assert "reference, rfcbam: ok on cpu" in capsys.readouterr().out


class Broken(torch.nn.Module):
    """Fails in training only."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise RuntimeError("the kernel " + LONG + " is wrong")
        return x


class NotFinite(torch.nn.Module):
    """Gives NaN."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.nan


def test_a_layer_that_fails_is_shown_whole_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_doctor_layers, "LAYERS", {"rfa": Broken, "rfca": NotFinite})
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "reference, rfa: training FAILED" in text
    assert LONG in "".join(line.strip() for line in text.splitlines())
    assert "reference, rfca: inference FAILED on cpu: not finite: the output" in text
    assert "reference, rfa: inference" not in text


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes the library look for itself in a folder that holds this build record."""

    def make(record: dict[str, str]) -> None:
        (tmp_path / "build.json").write_text(json.dumps(record), encoding="utf-8")
        result = library._find_and_load()
        monkeypatch.setattr(library, "_load_once", lambda: result)

    monkeypatch.setattr(library, "folders", lambda: (tmp_path,))
    return make


def test_the_whole_reason_is_shown(unbuilt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log = f"first line\n  /usr/bin/ld: cannot find [bold]crt1.o[/bold] in {LONG}\nlast line"
    unbuilt({"reason": "the linker failed", "log": log})
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    shown = "".join(line.strip() for line in text.splitlines())
    assert "librfaconv_cpu.so was not built: the linker failed" in " ".join(text.split())
    for line in log.splitlines():
        assert line.replace(" ", "") in shown.replace(" ", "")
    assert text.count("the linker failed") == 1


@pytest.mark.skipif(
    not (ROOT / "csrc").is_dir() or not all(map(shutil.which, ("cmake", "g++", "ninja"))),
    reason="needs a checkout, cmake, ninja and g++",
)
def test_a_compiler_that_cannot_link_says_so(tmp_path: Path) -> None:
    compiler = tmp_path / "compiles-only"
    compiler.write_text(
        f'#!/bin/sh\nfor a in "$@"; do [ "$a" = -c ] && exec {shutil.which("g++")} "$@"; done\n'
        'echo "/usr/bin/ld: cannot find \\"crt1.o\\" [no\\\\such; file]" >&2\n'
        'echo "collect2: error: ld returned 1 exit status" >&2\nexit 1\n',
        encoding="utf-8",
    )
    compiler.chmod(0o755)
    subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path / "build", "-G", "Ninja"],
        env={**os.environ, "CXX": str(compiler), "RFACONV_REQUIRE_CPU": "0"},
        capture_output=True,
        check=True,
    )
    record = json.loads((tmp_path / "build/product/build.json").read_text(encoding="utf-8"))
    assert record["reason"].startswith("the configuration of the C++ kernels failed: ")
    assert 'ld: cannot find "crt1.o" no\\such file, collect2: error: ld' in record["reason"]
    assert 'cannot find "crt1.o" [no\\such; file]' in record["log"]
    assert "is not able to compile a simple test program" in record["log"]


def test_output_is_utf_8_whatever_the_system_writes() -> None:
    code = "from rfaconv.cli import main as m; m.build = lambda: lambda **_: print('±'); m.main([])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "cp437", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == "±"


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rfaconv", "--version"], capture_output=True, encoding="utf-8"
    )
    assert done.stdout.startswith("rfaconv 0."), done.stderr
