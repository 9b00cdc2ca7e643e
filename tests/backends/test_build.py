"""Installation with a compiler that fails: the package installs, runs on the reference, and says
why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("scikit_build_core", reason="needs scikit-build-core to build a wheel")
pytestmark = pytest.mark.skipif(
    not (ROOT / "csrc").is_dir() or shutil.which("cmake") is None,
    reason="needs a checkout and cmake",
)

CHECK = """
import torch
from rfaconv import RFAConv2d, dispatch
from rfaconv.geometry import Problem, Window
status = {s.name: s for s in dispatch.available()}["cpu"]
assert not status.available
assert "configuration of the C++ kernels failed" in status.reason, status.reason
assert RFAConv2d(4, 6, 3)(torch.randn(2, 4, 9, 8)).shape == (2, 6, 9, 8)
problem = Problem("project", "rfa", "cpu", "float32", Window.create(3), 4)
assert dispatch.select(problem) == "reference"
"""


def _wheel(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "src", "csrc", "cmake", "*.txt", "*.toml", "README.md", "LICENSE"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-build-isolation", "--no-deps"]
    return subprocess.run(
        [*command, "-w", str(folder / "wheels")],
        cwd=source,
        env={**os.environ, "RFACONV_REQUIRE_CPU": "0", **environment},
        capture_output=True,
        timeout=240,
        check=False,
        encoding="utf-8",
    )


@pytest.fixture
def failing_compiler(tmp_path: Path) -> str:
    path = tmp_path / "failing-compiler"
    path.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_without_a_working_compiler(tmp_path: Path, failing_compiler: str) -> None:
    done = _wheel(tmp_path, CXX=failing_compiler)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert not list(installed.rglob("*.so"))
    subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        check=True,
        timeout=120,
    )


def test_required_kernels_fail_loudly(tmp_path: Path, failing_compiler: str) -> None:
    done = _wheel(tmp_path, CXX=failing_compiler, RFACONV_REQUIRE_CPU="1")
    assert done.returncode != 0
    assert "kernels were not built" in done.stdout + done.stderr
