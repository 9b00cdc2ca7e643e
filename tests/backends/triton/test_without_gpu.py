"""Starts the suites that prove the kernels without a GPU, each in a process of its own.

Triton decides when it is imported whether kernels are interpreted, and takes one driver for a
process; neither may reach the other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rfaconv

pytest.importorskip("triton", reason="needs Triton")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
COMPILE = {"RFACONV_TRITON_COMPILE": "1"}
SUITES = {
    "interpreted": ({"TRITON_INTERPRET": "1"}, [str(HERE / "interpreted")]),
    "compiled for sm_80": (COMPILE, [str(HERE / "compiled"), "-k", "sm_80"]),
    "compiled for sm_90": (COMPILE, [str(HERE / "compiled"), "-k", "not sm_80"]),
}
Running = dict[str, tuple[subprocess.Popen[bytes], Path]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All at the same time, as none uses more than one core; each writes to a file."""
    before = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
    paths = [str(Path(rfaconv.__file__).parents[1]), str(ROOT), str(HERE)]
    paths += filter(None, [before.get("PYTHONPATH")])
    found: Running = {}
    for suite, (own, arguments) in SUITES.items():
        folder = tmp_path_factory.mktemp("suite")
        environment = before | own | {
            "PYTHONPATH": os.pathsep.join(paths), "TRITON_CACHE_DIR": str(folder / "cache"),
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        found[suite] = process, folder / "output"
    yield found
    for process, _ in found.values():
        process.kill()
        process.wait()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite: str, running: Running) -> None:
    process, output = running[suite]
    code = process.wait()
    said = output.read_text(errors="replace", encoding="utf-8")
    assert code == 0, said[-8000:]
    assert " passed" in said
    assert "skipped" not in said
