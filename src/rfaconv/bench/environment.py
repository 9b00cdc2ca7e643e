"""Where a result comes from: machine, threads, instruction set, versions, commit."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import rfaconv
from rfaconv.backends.registry import BACKENDS

__all__ = ["describe"]

_PACKAGES = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "triton", "numpy")


def describe() -> dict[str, object]:
    """Everything that a time depends on and a reader cannot see."""
    backends = {}
    for name, backend in BACKENDS.items():
        status = backend.status()
        backends[name] = status.reason or dict(status.details).get("isa", "available")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rfaconv": rfaconv.__version__,
        "commit": _commit(),
        "machine": platform.machine(),
        "processor": _processor(),
        "logical processors": _count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "torch cpu capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "backends": backends,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _count() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):  # there on Linux alone
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    """The commit of the checkout that this package is imported from; ``unknown`` elsewhere."""
    folder = Path(rfaconv.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=10, check=False, encoding="utf-8"
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
