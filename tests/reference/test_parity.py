"""The tolerance rule itself: right answers pass, each kind of wrong answer fails."""

from __future__ import annotations

import math

import pytest
import torch

from rfaconv.reference.parity import FLOOR, Parity, assert_parity, compare, relative_error

ORACLE = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
PLAIN = ORACLE.float()


def _row(value: torch.Tensor, plain: torch.Tensor = PLAIN, oracle: torch.Tensor = ORACLE) -> Parity:
    return compare("y", value, plain, oracle)


def test_exact_result_passes() -> None:
    assert _row(PLAIN.clone()).passed


def test_error_is_relative_to_the_largest_oracle_entry() -> None:
    assert relative_error(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 4.0])) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(PLAIN * 2, id="doubled"),
        pytest.param(-PLAIN, id="sign"),
        pytest.param(torch.zeros_like(PLAIN), id="zeros"),
        pytest.param(PLAIN.roll(1), id="shifted"),
        pytest.param(PLAIN * (1 + 1e-5), id="scaled by 1e-5"),
        pytest.param(torch.where(PLAIN[7] == PLAIN, math.nan, PLAIN), id="one NaN"),
        pytest.param(torch.where(PLAIN[7] == PLAIN, math.inf, PLAIN), id="one Inf"),
    ],
)
def test_wrong_answers_fail(wrong: torch.Tensor) -> None:
    assert not _row(wrong).passed
    with pytest.raises(AssertionError, match=r"parity failed\n  y: FAILED"):
        assert_parity({"y": wrong}, {"y": PLAIN}, {"y": ORACLE})


def test_limit_is_twice_plain_torch_plus_floor() -> None:
    plain = PLAIN + 2e-3
    row = _row(PLAIN + 4e-3, plain=plain)
    assert row.passed
    assert row.limit == pytest.approx(2 * row.baseline + FLOOR[torch.float32])
    assert not _row(PLAIN + 4.2e-3, plain=plain).passed


@pytest.mark.parametrize(
    ("special", "other"), [(math.nan, math.inf), (math.inf, -math.inf), (math.inf, 1.0)]
)
def test_non_finite_values_must_be_of_the_same_kind_and_place(special: float, other: float) -> None:
    plain, oracle = PLAIN.clone(), ORACLE.clone()
    plain[3], oracle[3] = special, special
    good, bad = plain.clone(), plain.clone()
    bad[3] = other
    moved = PLAIN.clone()
    moved[4] = special
    assert _row(good, plain, oracle).passed
    assert not _row(bad, plain, oracle).passed
    assert not _row(moved, plain, oracle).passed


def test_rest_is_still_measured_beside_a_nan() -> None:
    plain, oracle = PLAIN.clone(), ORACLE.clone()
    plain[3], oracle[3] = math.nan, math.nan
    wrong = plain.clone()
    wrong[5] += 1e-3
    assert not _row(wrong, plain, oracle).passed


def test_zero_oracle_accepts_zeros_alone() -> None:
    zero = torch.zeros(4)
    assert compare("y", zero, zero, zero.double()).passed
    assert not compare("y", zero + 1e-9, zero, zero.double()).passed


def test_floor_follows_the_named_dtype() -> None:
    value = PLAIN * (1 + 1e-3)
    assert not compare("dw", value, PLAIN, ORACLE).passed
    assert compare("dw", value, PLAIN, ORACLE, dtype=torch.bfloat16).passed


def test_comparing_nothing_or_different_things_is_refused() -> None:
    with pytest.raises(ValueError, match="same names"):
        assert_parity({}, {}, {})
    with pytest.raises(ValueError, match="same names"):
        assert_parity({"y": PLAIN}, {"y": PLAIN}, {"dx": ORACLE})
    with pytest.raises(ValueError, match="one shape"):
        compare("y", PLAIN[:4], PLAIN, ORACLE)
    with pytest.raises(ValueError, match="expected a dtype"):
        compare("y", PLAIN, PLAIN, ORACLE, dtype=torch.int32)
