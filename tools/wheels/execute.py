"""Runs what was built: natively, under QEMU, under Wine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from platforms import Platform

__all__ = ["run_kernel_tests", "run_library_test", "run_native", "run_under_qemu"]

# every operator and stage, forward and backward, with every backend against the reference
SELFTEST = """
import json, sys
from rfaconv.backends import selftest
from rfaconv.backends.cpu import BACKEND
status = BACKEND.status()
if status.reason:
    sys.exit(status.reason)
rows = [row for row in selftest() if row.backend == "cpu"]
failed = [f"{row.case}: {row.detail}" for row in rows if row.passed is not True]
print(f"{len(rows)} cases with {status.details['isa']}, threads {status.details['threads']}")
if len(rows) < 30 or failed:
    sys.exit("\\n".join(failed) or "too few cases")
"""


def run_native(wheel: Path, work: Path, python: str) -> None:
    """Installs a wheel with nothing but Python on the path, then compares kernels and reference."""
    target = work / "installed"
    bare = work / "no-programs"
    bare.mkdir(exist_ok=True)
    begin = time.monotonic()
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade",
         "--disable-pip-version-check", "--target", target, wheel],
        check=True, env={"PATH": str(bare)},
    )  # fmt: skip
    print(f"{wheel.name}: installed in {time.monotonic() - begin:.1f} s without a compiler")
    subprocess.run(
        [python, "-c", SELFTEST], check=True, env={**os.environ, "PYTHONPATH": str(target)}
    )


def run_under_qemu(wheel: Path, work: Path, root: Path) -> None:
    """Compares kernels and reference with a Python and a torch for ARM (see arm_root.sh)."""
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
        subprocess.run(
            ["qemu-aarch64", "-cpu", "max,sve=off", "-L", root / "root", *settings,
             root / "root/usr/bin/python3.11", "-c", SELFTEST],
            check=True,
        )  # fmt: skip


def run_library_test(tools: Path, build: Path, platform: Platform) -> None:
    """Runs a small program that loads the finished library, with every instruction set."""
    if platform.emulator is None:
        print(f"{platform.name}: nothing here runs its programs", file=sys.stderr)
        return
    subprocess.run([tools / "cmake", "--build", build, "-t", "test_library"], check=True)
    _ctest(tools, build, "--label-regex", "library")


def _ctest(tools: Path, build: Path, *flags: str, **variables: str) -> None:
    subprocess.run(
        [tools / "ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error", *flags],
        check=True,
        env={**os.environ, "WINEDEBUG": "-all", **variables},
    )


def run_kernel_tests(tools: Path, build: Path, platform: Platform, rounds: int) -> None:
    """Builds and runs the C++ tests, which include the kernels."""
    if platform.emulator is None:
        return
    subprocess.run([tools / "cmake", "--build", build, "-t", "kernel_tests"], check=True)
    _ctest(tools, build, "--label-exclude", "library", RFACONV_TEST_ROUNDS=str(rounds))
