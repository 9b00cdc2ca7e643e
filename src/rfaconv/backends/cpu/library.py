"""Finds, loads and checks ``librfaconv_cpu.so``, once and only when first needed, and keeps the
reason if it fails.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rfaconv.backends.cpu import abi, openmp
from rfaconv.errors import BackendUnavailable

__all__ = [
    "LIBRARY_NAME",
    "LoadResult",
    "folders",
    "hesitation",
    "load",
    "refusal",
    "require",
    "threads",
]

LIBRARY_NAME = "librfaconv_cpu.dll" if sys.platform == "win32" else "librfaconv_cpu.so"
BUILD_RECORD = "build.json"
_BUILD_HINT = (
    "reinstall with a C++ compiler, or in a checkout: "
    "`cmake -S csrc -B build -G Ninja && cmake --build build`"
)


@dataclass(frozen=True)
class LoadResult:
    """The loaded library, or why there is none.

    Attributes:
        functions: The library with all argument types declared, or None.
        reason: Why it is None, else None.
        details: Path, instruction set, compiler and what else is known, for ``rfaconv doctor``.
        threaded: The kernels share torch's OpenMP threads; else they run on one.
    """

    functions: ctypes.CDLL | None
    reason: str | None
    details: Mapping[str, str] = field(default_factory=dict)
    threaded: bool = False


def folders() -> tuple[Path, ...]:
    """Folders where the library may lie: this package, which has two under an editable
    installation.
    """
    from rfaconv.backends import cpu

    return tuple(Path(entry) for entry in cpu.__path__)


def _build_record(folder: Path) -> dict[str, str]:
    path = folder / BUILD_RECORD
    if not path.is_file():
        return {}
    return {
        str(key): str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()
    }


def _load_from(path: Path) -> LoadResult:
    details = {"library": str(path), **_build_record(path.parent)}
    try:
        functions = ctypes.CDLL(str(path))
        version = functions.rfaconv_abi_version()
        if version != abi.ABI_VERSION:
            wrong = f"has ABI version {version}, expected {abi.ABI_VERSION}: rebuild it"
            return LoadResult(None, f"{path.name} {wrong}", details)
        abi.declare(functions)
    except (OSError, AttributeError) as error:
        return LoadResult(None, f"{path.name} does not load: {error}", details)
    details["isa"] = functions.rfaconv_isa().decode()
    alone = openmp.bind(functions, openmp.runtime_of_torch())
    details["threads"] = f"one: {alone}" if alone else "of torch's OpenMP runtime"
    details["openmp"] = ", ".join(openmp.mapped())
    return LoadResult(functions, None, details, threaded=alone is None)


def _find_and_load() -> LoadResult:
    candidates = folders()
    for folder in candidates:
        if (folder / LIBRARY_NAME).is_file():
            return _load_from(folder / LIBRARY_NAME)
    record: dict[str, str] = {}
    for folder in candidates:
        record.update(_build_record(folder))
    why = record.get("reason", "this installation has none")
    return LoadResult(None, f"{LIBRARY_NAME} was not built: {why}; {_BUILD_HINT}", record)


_lock = threading.Lock()


@functools.cache
def _load_once() -> LoadResult:
    return _find_and_load()


def load() -> LoadResult:
    """Loads the library at the first call, from whichever thread; later calls return the same
    result.
    """
    with _lock:
        return _load_once()


def refusal() -> str | None:
    """Why the library cannot be used, or None."""
    return load().reason


def hesitation() -> str | None:
    """Why plain torch is the better choice although the library works, or None."""
    if load().details.get("isa") != "scalar":
        return None
    return "instruction set: without vector instructions plain torch is faster than the kernels"


# torch.compile must not trace into ctypes; the answers never change within a process. This is what
# torch.compiler.assume_constant_result sets, without its import of the whole compiler.
refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]
hesitation._dynamo_marked_constant = True  # type: ignore[attr-defined]


def require() -> ctypes.CDLL:
    """Returns the library.

    Raises:
        BackendUnavailable: It cannot be used, with the reason.
    """
    result = _load_once()
    if result.functions is None:
        raise BackendUnavailable("cpu", result.reason or "unknown reason")
    return result.functions


class _Process:
    """Whether this process came from fork(), where the OpenMP pool of the parent is gone."""

    forked = False


def _after_fork() -> None:
    _Process.forked = True


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """Number of threads to use: torch's; one in a forked child, or where torch's OpenMP runtime is
    not found.

    A forked child inherits the state of the OpenMP pool but not its threads: the first parallel
    region would wait for them for ever, in torch's own operations too.
    """
    return torch.get_num_threads() if _load_once().threaded and not _Process.forked else 1
