"""Starts the two suites that prove the kernels without a GPU, each in a process of its own.

Triton decides when it is imported whether kernels are interpreted, and takes one driver for a
process; neither may reach the other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rfaconv

pytest.importorskip("triton", reason="needs Triton")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITES = {
    "interpreted": {"TRITON_INTERPRET": "1"},
    "compiled": {"RFACONV_TRITON_COMPILE": "1"},
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
    paths = [
        str(Path(rfaconv.__file__).parents[1]),
        str(ROOT),
        str(HERE),
        environment.get("PYTHONPATH", ""),
    ]
    environment |= SUITES[suite] | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TRITON_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / suite)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
