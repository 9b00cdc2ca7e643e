"""Proves on this machine that every available backend computes what the reference computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from rfaconv.backends import proof
from rfaconv.backends.base import Backend
from rfaconv.backends.cases import Case, parity
from rfaconv.backends.op_cases import OPS, OpCase, op_parity
from rfaconv.backends.registry import BACKENDS
from rfaconv.errors import RFAConvError
from rfaconv.geometry import Problem, Window
from rfaconv.reference.parity import Parity

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


def _op_cases(backend: Backend) -> Iterator[OpCase]:
    for op in OPS:
        if op in backend.kernels:
            for variant in ("rfa", "rfcbam", "rfca") if op == "attend" else ("",):
                yield OpCase(op, backend.name, backend.device, variant)


def _run(backend: Backend, case: Case | OpCase) -> SelftestRow:
    reason = backend.refusal(case.problem)
    if reason is not None:
        return SelftestRow(backend.name, str(case), None, reason)
    try:
        if isinstance(case, Case):
            rows = parity(case)
        else:
            rows = op_parity(case, gradients=f"{case.op}_backward" in backend.kernels)
    except (RFAConvError, RuntimeError, MemoryError) as error:  # reported like a wrong result
        return SelftestRow(backend.name, str(case), False, f"{type(error).__name__}: {error}")
    return _judged(backend.name, str(case), rows)


def _judged(backend: str, case: str, rows: list[Parity]) -> SelftestRow:
    failed = [str(row) for row in rows if not row.passed]
    if failed:
        return SelftestRow(backend, case, False, "; ".join(failed))
    worst = max(rows, key=lambda row: row.error / row.limit)
    detail = f"{len(rows)} results, worst {worst.name}: {worst.error:.1e} <= {worst.limit:.1e}"
    return SelftestRow(backend, case, True, detail)


def _proved(backend: Backend) -> Iterator[SelftestRow]:
    """Runs every kind of problem that the backend must prove, on every device, and keeps the
    verdicts.
    """
    own = proof.proofs[backend.name]
    for kind in proof.kinds(backend):
        with proof.trusting(backend.name):
            problem = Problem(
                kind.op, kind.variant, backend.device, kind.dtype, Window.create(kind.kernel), 19
            )
            reason = backend.refusal(problem)
        if reason is not None:
            continue
        for device in own.devices:
            reason = own.prove(device, kind)
            name = str(kind) if len(own.devices) == 1 else f"{kind} on {device.name}"
            yield SelftestRow(backend.name, name, reason is None, reason or "proved")


def selftest() -> list[SelftestRow]:
    """Runs forward and every gradient of every op on every backend of this machine against the
    reference. Backends whose kernels are not believed without proof run what there is to prove.

    Returns:
        One row per backend and case; a backend that cannot run here has one row with its reason.
    """
    rows = []
    for name, backend in BACKENDS.items():
        status = backend.status()
        if not status.available:
            rows.append(SelftestRow(name, "all", None, status.reason or ""))
        elif name in proof.proofs:
            rows.extend(_proved(backend))
        else:
            rows.extend(_run(backend, case) for case in _cases(backend))
            rows.extend(_run(backend, case) for case in _op_cases(backend))
    return rows
