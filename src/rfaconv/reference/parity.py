"""The one tolerance rule of the project: a kernel may be at most twice as wrong as plain torch in
the same dtype.

    error(v)  = max |v - oracle| / max |oracle|            (oracle: the reference in float64)
    passes    <=>  error(fused) <= 2 * error(plain torch) + floor[dtype]

Non-finite values are part of the result: NaN and infinities must stand where plain torch has them,
and only the rest is measured. Tests, ``rfaconv bench`` and ``rfaconv doctor`` all use this file,
and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FACTOR", "FLOOR", "Parity", "assert_parity", "compare", "relative_error", "require"]

FACTOR = 2.0

FLOOR: dict[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-6,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}


@dataclass(frozen=True)
class Parity:
    """One measured comparison.

    Attributes:
        name: What was compared, such as ``"dx"``.
        error: Error of the kernel, relative to max |oracle|.
        baseline: Error of plain torch in the same dtype, relative likewise.
        limit: ``2 * baseline + floor``.
        note: Why it failed where a number does not say so, else empty.
    """

    name: str
    error: float
    baseline: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the kernel is within the limit."""
        return self.error <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        tail = f" ({self.note})" if self.note else ""
        return (
            f"{self.name}: {verdict}, error {self.error:.2e}, plain torch {self.baseline:.2e}, "
            f"limit {self.limit:.2e}{tail}"
        )


def relative_error(value: Tensor, oracle: Tensor, mask: Tensor | None = None) -> float:
    """Largest deviation relative to the largest magnitude of the oracle, ``max|v - o| / max|o|``.

    Args:
        value: Any shape.
        oracle: Same shape, float64.
        mask: Entries to look at (bool, same shape); all by default.

    Returns:
        The error; 0 for nothing to compare, infinity for a deviation from an oracle of zeros.

    Example:
        >>> relative_error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
        0.25
    """
    value, oracle = value.detach().double(), oracle.detach().double()
    if mask is not None:
        value, oracle = value[mask], oracle[mask]
    if value.numel() == 0:
        return 0.0
    deviation, scale = float((value - oracle).abs().max()), float(oracle.abs().max())
    if deviation == 0.0:
        return 0.0
    return deviation / scale if scale > 0.0 else math.inf


def compare(
    name: str, value: Tensor, baseline: Tensor, oracle: Tensor, *, dtype: torch.dtype | None = None
) -> Parity:
    """Holds one result of a kernel against plain torch and the float64 oracle.

    Args:
        name: Named in the report.
        value: The kernel's result.
        baseline: Plain torch in the kernel's dtype, same shape.
        oracle: The reference in float64, same shape.
        dtype: The dtype that chooses the floor; that of ``value`` by default. A float32 gradient
            computed from bfloat16 inputs is judged as bfloat16.

    Raises:
        ValueError: The three shapes differ, or no floor is known for the dtype.

    Example:
        >>> x = torch.ones(3)
        >>> compare("y", x, x, x.double()).passed
        True
    """
    if not value.shape == baseline.shape == oracle.shape:
        raise ValueError(
            f"{name}: expected one shape, got kernel {tuple(value.shape)}, "
            f"plain torch {tuple(baseline.shape)}, oracle {tuple(oracle.shape)}"
        )
    kind = value.dtype if dtype is None else dtype
    if kind not in FLOOR:
        raise ValueError(f"{name}: expected a dtype of {[str(d) for d in FLOOR]}, got {kind}")
    note = _misplaced(value, baseline)
    finite = baseline.detach().isfinite() & oracle.detach().isfinite()
    reference = relative_error(baseline, oracle, finite)
    error = math.inf if note else relative_error(value, oracle, finite)
    return Parity(name, error, reference, FACTOR * reference + FLOOR[kind], note)


def _misplaced(value: Tensor, baseline: Tensor) -> str:
    """Says where non-finite values of the kernel are not those of plain torch."""
    kinds = (("NaN", torch.isnan), ("+Inf", torch.isposinf), ("-Inf", torch.isneginf))
    for kind, test in kinds:
        got, want = test(value.detach()), test(baseline.detach())
        if not torch.equal(got, want):
            places = int((got != want).sum())
            return f"{kind} in {int(got.sum())} entries, {int(want.sum())} expected, {places} wrong"
    return ""


def assert_parity(
    values: Mapping[str, Tensor],
    baselines: Mapping[str, Tensor],
    oracles: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
) -> list[Parity]:
    """Compares every named tensor and raises with the whole table if one fails.

    Args:
        values: Name to the kernel's tensor.
        baselines: Name to plain torch's tensor; the same names.
        oracles: Name to the float64 tensor; the same names.
        dtype: See :func:`compare`.

    Returns:
        One :class:`Parity` per name, all passed.

    Raises:
        ValueError: The names differ or there are none: a comparison of nothing must not pass.
        AssertionError: One or more comparisons failed.
    """
    if not values or not set(values) == set(baselines) == set(oracles):
        raise ValueError(
            f"expected the same names on all sides, got {sorted(values)}, {sorted(baselines)}, "
            f"{sorted(oracles)}"
        )
    return require(
        [
            compare(name, values[name], baselines[name], oracles[name], dtype=dtype)
            for name in values
        ]
    )


def require(rows: Sequence[Parity]) -> list[Parity]:
    """Returns the rows if all passed.

    Raises:
        ValueError: There are no rows.
        AssertionError: One or more failed; the message is the whole table.
    """
    if not rows:
        raise ValueError("expected at least one comparison, got none")
    if not all(row.passed for row in rows):
        raise AssertionError("parity failed\n" + "\n".join(f"  {row}" for row in rows))
    return list(rows)
