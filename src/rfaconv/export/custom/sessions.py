"""Opens ONNX files that use our operators in ONNX Runtime."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from rfaconv.backends.cpu import library
from rfaconv.errors import BackendUnavailable, InvalidArgument
from rfaconv.geometry import to_tuple

__all__ = ["LIBRARY_NAME", "THREADS_KEY", "library_path", "session"]

LIBRARY_NAME = f"librfaconv_onnxruntime.{'dll' if sys.platform == 'win32' else 'so'}"
THREADS_KEY = "rfaconv.threads"
"""Key of a session's configuration: into how many parts the operators cut their work."""


def library_path() -> Path:
    """Returns the operator library for ``SessionOptions.register_custom_ops_library``.

    It needs neither torch nor this package: a server may use a copy of it.

    Raises:
        BackendUnavailable: it was not built; the reason and what to do instead are named.
    """
    for folder in library.folders():
        if (folder / LIBRARY_NAME).is_file():
            return folder / LIBRARY_NAME
    raise BackendUnavailable(
        "onnxruntime custom operators",
        f"{LIBRARY_NAME} was not built; reinstall with a C++ compiler, or in a checkout: "
        "`cmake -S csrc -B build -G Ninja && cmake --build build`",
    )


def session(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    require: bool = False,
    options: Any = None,
) -> Any:
    """Opens a file written by ``export_onnx_custom``.

    The kernels run on the session's own threads, so nothing else has to be set.

    Args:
        path: the ONNX file.
        threads: threads within an operator. None takes the number in ``options``, or else one for
            each processor that this process may use.
        require: raise where the library was not built. Otherwise the definitions that the file
            carries run, 1.3 to 4 times slower, and a warning says so.
        options: an ``onnxruntime.SessionOptions`` to start from; it is changed.

    Returns:
        An ``onnxruntime.InferenceSession`` on the CPU.

    Raises:
        InvalidArgument: if there is no such file or ``threads`` is not positive.
        BackendUnavailable: if the library was not built and is required.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions() if options is None else options
    if threads is None:
        threads = options.intra_op_num_threads or _processors()
    count = to_tuple("threads", threads, 1, 1)[0]
    options.intra_op_num_threads = count
    operators: str | None = None
    try:
        operators = str(library_path())
    except BackendUnavailable as error:
        if require:
            raise
        warnings.warn(f"{error}; until then the composite graph runs", stacklevel=2)
    if not Path(path).is_file():
        raise InvalidArgument("path", "an ONNX file", str(path))
    if operators is not None:
        # read when the library is registered
        options.add_session_config_entry(THREADS_KEY, str(count))
        options.register_custom_ops_library(operators)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
