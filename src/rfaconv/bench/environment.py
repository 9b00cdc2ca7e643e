"""Where numbers come from: machine, threads, instruction set, versions, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import rfaconv
from rfaconv.backends.registry import BACKENDS

TIMED = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "triton", "numpy")
"""Packages on which a time depends."""
TRAINED = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy", "scikit-learn")
"""Packages on which a training depends."""


def describe() -> dict[str, object]:
    """Everything that a time depends on and a reader cannot see."""
    backends = {}
    for name, backend in BACKENDS.items():
        status = backend.status()
        backends[name] = status.reason or dict(status.details).get("isa", "available")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rfaconv": rfaconv.__version__,
        "commit": commit() or "unknown",
        "machine": platform.machine(),
        "processor": processor(),
        "logical processors": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in TIMED if (found := package_version(name))},
        "torch cpu capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "backends": backends,
    }


def environment(device: torch.device) -> dict[str, Any]:
    """What a training depends on: versions, commit, machine and device, as plain values."""
    return {
        "rfaconv": rfaconv.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in TRAINED},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "device": device_name(device),
    }


def package_version(name: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the git checkout that the package is imported from, with ``+`` if it was changed.

    None outside a checkout, and for a package that is merely installed below one.
    """
    folder = Path(__file__).resolve().parent
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}{'+' if changed else ''}" if tracked and head else None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        timeout=10,
        encoding="utf-8",
    )
    return done.stdout.strip()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):  # there on Linux alone
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """The device as people call it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "cpu" else device.type


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Sets torch's threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
