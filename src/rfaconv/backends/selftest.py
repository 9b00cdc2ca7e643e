"""Proves on this machine that every available backend computes what the reference computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from rfaconv.backends.base import Backend
from rfaconv.backends.cases import Case, parity
from rfaconv.backends.registry import BACKENDS
from rfaconv.errors import RFAConvError
from rfaconv.geometry import Window

__all__ = ["SelftestRow", "selftest"]


@dataclass(frozen=True)
class SelftestRow:
    """The result of one case on one backend.

    Attributes:
        backend: Name of the backend.
        case: Name of the case.
        passed: True, False, or None where the backend refused.
        detail: Worst error against its limit, what failed, or the reason of the refusal.
    """

    backend: str
    case: str
    passed: bool | None
    detail: str


_WINDOWS = (Window.create(3), Window.create(3, 2), Window.create(5, 1, 3, 2), Window.create(1))


def _cases(backend: Backend) -> Iterator[Case]:
    base = Case(
        device=backend.device, backend=backend.name, channels=19, out_channels=21, size=(13, 10)
    )
    for window in _WINDOWS:
        yield replace(base, op="patch_moments", window=window)
        yield from (
            replace(base, op="feature_stats", variant=v, window=window) for v in ("rfcbam", "rfca")
        )
        yield from (
            replace(base, variant=v, window=window) for v in ("rfa", "rfcbam", "rfca", "none")
        )
    for variant in ("rfa", "rfcbam", "rfca"):
        yield replace(base, variant=variant, channels_last=True)
        yield replace(base, variant=variant, dtype=torch.bfloat16)
    yield replace(base, op="patch_moments", mean=100.0)


def _run(backend: str, case: Case) -> SelftestRow:
    reason = BACKENDS[backend].refusal(case.problem)
    if reason is not None:
        return SelftestRow(backend, str(case), None, reason)
    try:
        rows = parity(case)
    except (RFAConvError, RuntimeError, MemoryError) as error:  # reported like a wrong result
        return SelftestRow(backend, str(case), False, f"{type(error).__name__}: {error}")
    failed = [str(row) for row in rows if not row.passed]
    if failed:
        return SelftestRow(backend, str(case), False, "; ".join(failed))
    worst = max(rows, key=lambda row: row.error / row.limit)
    return SelftestRow(
        backend,
        str(case),
        True,
        f"{len(rows)} results, worst {worst.name}: {worst.error:.1e} <= {worst.limit:.1e}",
    )


def selftest() -> list[SelftestRow]:
    """Runs forward and every gradient of every op on every backend of this machine against the
    reference.

    Returns:
        One row per backend and case; a backend that cannot run here has one row with its reason.
    """
    rows = []
    for name, backend in BACKENDS.items():
        status = backend.status()
        if not status.available:
            rows.append(SelftestRow(name, "all", None, status.reason or ""))
            continue
        rows.extend(_run(name, case) for case in _cases(backend))
    return rows
