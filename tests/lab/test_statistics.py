from __future__ import annotations

import math

import pytest

from rfaconv.lab.statistics import mean_and_std, paired_difference, t_quantile


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042)])
def test_quantiles_are_those_of_the_printed_tables(freedom: int, value: float) -> None:
    assert t_quantile(freedom) == pytest.approx(value, abs=5e-4)


def test_interval_by_hand() -> None:
    # differences 0.01, 0.03, 0.02: mean 0.02, s = 0.01
    found = paired_difference([0.91, 0.95, 0.90], [0.90, 0.92, 0.88], resolution=1e-4)
    assert found.mean == pytest.approx(0.02)
    assert found.half_width == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)
    assert found.verdict == "within noise"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.95, 0.951, 0.949], "higher"),
        ([0.85, 0.851, 0.849], "lower"),
        ([0.9, 0.9, 0.9], "within noise"),
    ],
)
def test_verdicts(values: list[float], verdict: str) -> None:
    assert paired_difference(values, [0.9, 0.901, 0.899], 1e-3).verdict == verdict


def test_equal_differences_of_one_image_are_noise() -> None:
    step = 1 / 450
    found = paired_difference([0.9 + step] * 3, [0.9] * 3, step * 1.0001)
    assert found.verdict == "within noise"
    assert found.half_width == pytest.approx(step, rel=1e-3)


def test_one_seed_says_nothing() -> None:
    found = paired_difference([0.9], [0.1], 1e-3)
    assert (found.half_width, found.verdict) == (None, "one seed")
    assert mean_and_std([0.5]) == (0.5, None)


def test_several_comparisons_share_the_error() -> None:
    # 2 of 5% each: t(0.9875, 2) of a table is 6.205
    values, plain = [0.96, 0.98, 0.97], [0.92, 0.92, 0.92]
    one = paired_difference(values, plain, 1e-4)
    two = paired_difference(values, plain, 1e-4, comparisons=2)
    assert two.half_width == pytest.approx(6.2053 * 0.01 / math.sqrt(3), rel=1e-4)
    assert (two.mean, one.verdict, two.verdict) == (one.mean, "higher", "higher")
    many = paired_difference(values, plain, 1e-4, comparisons=6)
    assert (many.mean, many.verdict) == (one.mean, "within noise")
