"""Binds the kernels to the OpenMP runtime that torch has loaded, so that both share one pool of
threads.

The library links no OpenMP. It receives the runtime's functions at run time: those of GCC's
interface where torch's runtime has them, else those of LLVM's and Intel's.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

from rfaconv.backends.cpu import abi

__all__ = ["bind", "mapped", "runtime_of_torch"]

# Field of rfaconv_openmp: the function's name in the runtime.
_COMMON = {"thread_num": "omp_get_thread_num", "num_threads": "omp_get_num_threads"}
_INTERFACES: tuple[dict[str, str], ...] = (
    {"gomp_parallel": "GOMP_parallel", "gomp_barrier": "GOMP_barrier"},
    {
        "kmp_fork": "__kmpc_fork_call",
        "kmp_push_num_threads": "__kmpc_push_num_threads",
        "kmp_thread": "__kmpc_global_thread_num",
        "kmp_barrier": "__kmpc_barrier",
    },
)
_WINDOWS_RUNTIMES = ("libiomp5md.dll", "libomp140.x86_64.dll", "libomp140.aarch64.dll")


def mapped() -> tuple[str, ...]:
    """Paths of the OpenMP runtimes mapped into this process (Linux; empty elsewhere).

    One is right: torch's own. Two would be two thread pools that fight for the cores.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    found = set()
    for line in maps.splitlines():
        path = line.split(maxsplit=5)[5] if line.count("/") else ""
        if Path(path).name.startswith(("libgomp", "libomp", "libiomp")):
            found.add(path)
    return tuple(sorted(found))


def runtime_of_torch() -> ctypes.CDLL | None:
    """A library through which the functions of torch's OpenMP runtime are found, or None.

    A look-up in a library covers what it depends on, so torch's own library leads to the runtime
    that it was linked to, whatever its name. Windows does not look that far: there it is the
    module that torch has loaded, by name.
    """
    if sys.platform == "win32":
        # 64-bit handles do not fit the int that ctypes takes for a result
        find = ctypes.WinDLL("kernel32").GetModuleHandleW
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_wchar_p]
        for name in _WINDOWS_RUNTIMES:
            handle = find(name)
            if handle:
                return ctypes.CDLL(name, handle=handle)
        return None
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).is_file():
            try:
                return ctypes.CDLL(str(folder / name))
            except OSError:
                return None
    return None


def _address(runtime: ctypes.CDLL, name: str) -> int | None:
    try:
        return ctypes.cast(getattr(runtime, name), ctypes.c_void_p).value
    except AttributeError:
        return None


def _table(runtime: ctypes.CDLL) -> abi.OpenmpStruct | None:
    """The runtime's functions for the library, or None where it has neither interface."""
    for interface in _INTERFACES:
        found = {field: _address(runtime, name) for field, name in {**_COMMON, **interface}.items()}
        if None not in found.values():
            return abi.OpenmpStruct(**found)
    return None


def bind(functions: ctypes.CDLL, runtime: ctypes.CDLL | None) -> str | None:
    """Gives the library the runtime's threads.

    Args:
        functions: The library.
        runtime: Where the runtime's functions are found, as from :func:`runtime_of_torch`.

    Returns:
        None, or why the kernels run on one thread.
    """
    table = None if runtime is None else _table(runtime)
    if table is None:
        functions.rfaconv_bind_openmp(None)
        return "torch has loaded no OpenMP runtime that the kernels know"
    if functions.rfaconv_bind_openmp(ctypes.byref(table)):
        return "the kernels refused torch's OpenMP runtime"
    return None
