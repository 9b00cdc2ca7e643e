"""Whether the kernels can run on this machine; imports no Triton to find out."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

__all__ = ["details", "hopper", "installed", "refusal"]

MINIMUM_CAPABILITY = (8, 0)
"""Ampere: bfloat16 on tensor cores, asynchronous copies."""


def installed() -> bool:
    """Whether Triton can be imported."""
    return find_spec("triton") is not None


def refusal() -> str | None:
    """Why no kernel can run here, or None; the answer does not change within a process."""
    return _refusal_once()


@functools.cache
def _refusal_once() -> str | None:
    if not installed():
        return "triton: expected to be installed, is not"
    if torch.version.cuda is None:
        return "torch: expected a build for CUDA, got one without"
    if not torch.cuda.is_available():
        return "device: expected a CUDA device, found none"
    least = min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))
    if least < MINIMUM_CAPABILITY:
        return f"compute capability: expected at least {MINIMUM_CAPABILITY}, got {least}"
    return None


def hopper(device: torch.device) -> bool:
    """Whether kernels for compute capability 9.0 and above fit the device; also without one."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


# torch.compile must not trace into the driver; see backends/cpu/library.py
refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]


def details() -> dict[str, str]:
    """Versions and devices, for the report."""
    found = {"cuda": torch.version.cuda or "none"}
    try:
        found["triton"] = version("triton")
    except PackageNotFoundError:
        found["triton"] = "not installed"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["devices"] = ", ".join(names)
    return found
