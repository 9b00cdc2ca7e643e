"""Where a result comes from: machine, threads, instruction set, versions, commit."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

import rfaconv
from rfaconv.backends.registry import BACKENDS
from rfaconv.training.environment import available_cores, commit, package_version, processor

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
        "commit": commit() or "unknown",
        "machine": platform.machine(),
        "processor": processor(),
        "logical processors": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := package_version(name))},
        "torch cpu capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "backends": backends,
    }
