"""Means, spreads, and when a difference between two operators means something."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Paired difference of two operators' accuracies over the same seeds.

    Attributes:
        mean: mean of the differences, in [-1, 1].
        half_width: half the width of its confidence interval, of 95% unless several comparisons
            share that; None with a single seed.
        verdict: ``higher``, ``lower``, ``within noise``, or ``one seed`` where nothing can be said.
    """

    mean: float
    half_width: float | None
    verdict: str


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for the latter of a single value.

    Example:
        >>> mean_and_std([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    mean = math.fsum(values) / len(values)
    return mean, statistics.stdev(values) if len(values) > 1 else None


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], resolution: float, comparisons: int = 1
) -> Difference:
    """Mean of ``values - baseline``, pair by pair, with Student's t interval over the pairs.

    With d_i the differences, n of them and s their standard deviation, the half width is
    ``t(0.975, n - 1) * s / sqrt(n)``, and at least ``resolution``: few images can give equal
    differences by chance, and no accuracy is known better than one image of the set.

    Args:
        values: accuracies of one operator, one per seed.
        baseline: accuracies of the other for the same seeds.
        resolution: one image's share of the accuracy, 1 / images.
        comparisons: how many intervals are looked at together. With m of them each has the
            confidence 1 - 0.05 / m (Bonferroni), so that all hold at once in 95% of cases.

    Example:
        >>> paired_difference([0.9, 0.92, 0.91], [0.8, 0.81, 0.82], 0.001).verdict
        'higher'
        >>> paired_difference([0.9, 0.80, 0.91], [0.8, 0.91, 0.82], 0.001).verdict
        'within noise'
    """
    differences = [a - b for a, b in zip(values, baseline, strict=True)]
    mean, std = mean_and_std(differences)
    if std is None:
        return Difference(mean, None, "one seed")
    count = len(differences)
    confidence = 1 - (1 - CONFIDENCE) / comparisons
    half = max(t_quantile(count - 1, confidence) * std / math.sqrt(count), resolution)
    if abs(mean) <= half:
        return Difference(mean, half, "within noise")
    return Difference(mean, half, "higher" if mean > 0 else "lower")


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Student's t for a two-sided interval.

    Example:
        >>> round(t_quantile(2), 3)
        4.303
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
