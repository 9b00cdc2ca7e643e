"""Compares an exported file with PyTorch, at several batches and sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.bench.timing import median_ms
from rfaconv.export.runtimes import load_exported, loader
from rfaconv.files import strict_json, write_atomic

TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.5}
"""Of the largest output. Where float32 in PyTorch errs by more itself, twice its error."""


def check(
    path: Path | str,
    network: nn.Module,
    *,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int] = (1, 2, 5),
    channels: int = 3,
    dtype: str = "float32",
    threads: int | None = None,
    seconds: float = 0.3,
    parts: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Runs a file in its runtime and the network in PyTorch on the same images.

    Errors are relative to the largest output, against PyTorch in float64. The report is written
    beside the file, as ``NAME.check.json``.

    Args:
        path: a file of :func:`rfaconv.export.export`.
        network: what was exported.
        sizes: heights and widths, in pixels.
        batches: numbers of images.
        channels: of the images.
        dtype: of the file: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        threads: of the runtime; None for its own choice. PyTorch uses its own.
        seconds: to time each side, per case.
        parts: lengths along the output's last axis: each part's error is relative to its own
            largest, and the worst counts. None: the output is one part.
        progress: called with (cases done, cases in all).

    Returns:
        ``cases``: batch, size, ``error``, ``torch_error`` (of PyTorch in float32), ``ms``,
        ``torch_ms``, ``passed``, or ``refused`` with what the runtime said; and ``passed`` of all.

    Raises:
        InvalidArgument: no such file.
    """
    loader(path)  # says at once what is no such file
    plain = copy.deepcopy(network).cpu().float().eval()
    todo = [(batch, size) for size in sizes for batch in batches]
    # PyTorch first: the threads of two runtimes that wait for work take it from each other
    sides = []
    for done, (batch, size) in enumerate(todo):
        if progress is not None:
            progress(done, 2 * len(todo))
        x = torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sides.append((x, *_exactly(plain, x, parts), median_ms(partial(plain, x), seconds)))
    run = load_exported(path, threads=threads)
    cases: list[dict[str, Any]] = []
    for done, (x, expected, torch_error, torch_ms) in enumerate(sides):
        if progress is not None:
            progress(len(todo) + done, 2 * len(todo))
        case: dict[str, Any] = {"batch": len(x), "size": list(x.shape[2:])}
        try:
            error = _error(run(x), expected, parts)
        except Exception as refusal:  # a runtime refuses in its own words
            cases.append({**case, "refused": str(refusal).strip()[:300], "passed": False})
            continue
        passed = error <= max(TOLERANCE[dtype], 2 * torch_error)
        case |= {"error": error, "torch_error": torch_error, "passed": passed}
        cases.append(case | {"ms": median_ms(partial(run, x), seconds), "torch_ms": torch_ms})
    path = Path(path)
    report = {
        "file": path.name,
        "dtype": dtype,
        "tolerance": TOLERANCE[dtype],
        "threads": threads,
        "torch_threads": torch.get_num_threads(),
        "cases": cases,
        "passed": all(case["passed"] for case in cases),
    }
    write_atomic(path.with_name(f"{path.name}.check.json"), strict_json(report))
    return report


def _exactly(network: nn.Module, x: Tensor, parts: Sequence[int]) -> tuple[Tensor, float]:
    """The output in float64, and the error of PyTorch in float32."""
    exact: Tensor = copy.deepcopy(network).double()(x.double())
    return exact, _error(network(x), exact, parts)


def _error(found: Tensor, expected: Tensor, parts: Sequence[int]) -> float:
    if found.shape != expected.shape or not found.isfinite().all():
        return 1e30  # as wrong as can be, and still JSON
    lengths = list(parts) or expected.shape[-1]
    pairs = zip(found.double().split(lengths, -1), expected.split(lengths, -1), strict=True)
    return max(float((a - b).abs().max() / _scale(b)) for a, b in pairs)


def _scale(expected: Tensor) -> Tensor:
    return expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
