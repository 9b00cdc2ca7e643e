"""Whether the kernels can run on this machine; imports no Triton to find out."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

__all__ = ["details", "hopper", "identities", "installed", "may_run", "refusal"]

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
    found = {"cuda": torch.version.cuda or "none", "triton": _version("triton") or "not installed"}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["devices"] = ", ".join(names)
    return found


def may_run() -> bool:
    """Whether kernels can be run and compiled now: not while a CUDA graph is captured."""
    return not torch.cuda.is_current_stream_capturing()


def identities() -> dict[str, dict[str, str]]:
    """Of every device, of those alike the first, what its proof holds for."""
    found: dict[str, dict[str, str]] = {}
    seen = set()
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        device = torch.cuda.get_device_name(index), f"{major}.{minor}"
        if device in seen:
            continue
        seen.add(device)
        found[f"cuda:{index}"] = {
            "device": device[0], "capability": device[1], "driver": _driver(),
            "torch": torch.__version__, "cuda": torch.version.cuda or "",
            "triton": _version("triton"), "rfaconv": _version("rfaconv"), "sources": _sources(),
        }  # fmt: skip
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    """The version of the driver as it says itself; empty where it does not."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        ask = getattr(torch._C, "_cuda_getDriverVersion", None)
        return "" if ask is None else str(ask())
    return text.splitlines()[0] if text else ""


@functools.cache
def _sources() -> str:
    """A hash of the kernels and of what launches them."""
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
