"""Runs what was built: natively, under QEMU, under Wine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from platforms import Platform

__all__ = ["install", "run_kernel_tests", "run_library_test", "run_native", "run_under_qemu"]

# every operator and stage, forward and backward, with every backend against the reference
SELFTEST = """
import json, sys
import rfaconv
from rfaconv.backends import selftest
from rfaconv.backends.cpu import BACKEND
if not rfaconv.__file__.startswith(sys.argv[1]):
    sys.exit(f"{rfaconv.__file__} was imported, not the wheel in {sys.argv[1]}")
status = BACKEND.status()
if status.reason:
    sys.exit(status.reason)
rows = [row for row in selftest() if row.backend == "cpu"]
failed = [f"{row.case}: {row.detail}" for row in rows if row.passed is not True]
details = status.details
print(json.dumps({"cases": len(rows), "isa": details["isa"], "threads": details["threads"]}))
if len(rows) < 30 or failed:
    sys.exit("\\n".join(failed) or "too few cases")
"""


def _selftest(target: Path, command: list[str | Path], **variables: str) -> dict[str, Any]:
    """Runs the self-test of the wheel in ``target``.

    Returns:
        How many cases passed, with which instructions and threads.
    """
    done = subprocess.run([*command, "-c", SELFTEST, target], check=True, text=True,
                          stdout=subprocess.PIPE, env={**os.environ, **variables})  # fmt: skip
    print(done.stdout, end="")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def install(wheel: Path, target: Path, python: str) -> float:
    """Installs a wheel into a folder with nothing but Python on the path; returns the seconds."""
    bare = target.with_name("no-programs")
    bare.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    begin = time.monotonic()
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--disable-pip-version-check", "--target", target, wheel],
        check=True, env={"PATH": str(bare)},
    )  # fmt: skip
    return time.monotonic() - begin


def run_native(wheel: Path, work: Path, python: str, isas: Sequence[str]) -> dict[str, Any]:
    """Installs a wheel without a compiler, then compares kernels and reference.

    Returns:
        The results of the self-test.
    """
    target = work / "installed"
    install(wheel, target, python)
    tested = []
    for isa in isas:
        # not from the folder that this runs in, nor from what is installed in that Python
        wish = {"PYTHONPATH": str(target), "RFACONV_CPU_ISA": isa}
        found = _selftest(target, [python, "-P"], **wish)
        # a processor without it runs the next lower set instead, which is not what was to be shown
        if found["isa"] == isa:
            tested.append(found)
    return {"selftests": tested}


def run_under_qemu(wheel: Path, work: Path, root: Path) -> dict[str, Any]:
    """Compares kernels and reference with a Python and a torch for ARM (see arm_root.sh).

    Returns:
        The results of the self-test.
    """
    tested = []
    target = work / "installed-aarch64"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    for isa in ("neon", "scalar"):
        variables = {
            "PYTHONPATH": f"{target}:{root / 'site'}",
            "RFACONV_CPU_ISA": isa,
            "OMP_NUM_THREADS": "2",
        }
        settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        python: list[str | Path] = [
            "qemu-aarch64", "-cpu", "max,sve=off", "-L", root / "root", *settings,
            root / "root/usr/bin/python3.11",
        ]  # fmt: skip
        tested.append(_selftest(target, python))
    return {"selftests": tested}


def run_library_test(tools: Path, build: Path, platform: Platform) -> dict[str, Any]:
    """Runs a small program that loads the finished library, with every instruction set."""
    if platform.emulator is None:
        print(f"{platform.name}: nothing here runs its programs", file=sys.stderr)
        return {}
    subprocess.run([tools / "cmake", "--build", build, "-t", "test_library"], check=True)
    return {"library_tests": _ctest(tools, build, "--label-regex", "library")}


def _ctest(tools: Path, build: Path, *flags: str, **variables: str) -> dict[str, int]:
    """Runs programs; returns how many passed, and how many said that this processor cannot."""
    report = build / "report.xml"
    subprocess.run(
        [tools / "ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error",
         "--output-junit", report, *flags],
        check=True,
        env={**os.environ, "WINEDEBUG": "-all", **variables},
    )  # fmt: skip
    suite = ElementTree.parse(report).getroot()
    skipped = int(suite.get("skipped", 0))
    return {"passed": int(suite.get("tests", 0)) - skipped, "skipped": skipped}


def run_kernel_tests(tools: Path, build: Path, platform: Platform, rounds: int) -> dict[str, Any]:
    """Builds and runs the C++ tests, which include the kernels."""
    if platform.emulator is None:
        return {}
    subprocess.run([tools / "cmake", "--build", build, "-t", "kernel_tests"], check=True)
    found = _ctest(tools, build, "--label-exclude", "library", RFACONV_TEST_ROUNDS=str(rounds))
    return {"kernel_tests": {**found, "rounds": rounds}}
