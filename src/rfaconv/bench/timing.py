"""Times several callables against each other: alternating, medians with quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Spread", "Timing", "alternate"]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The quartiles of at least two values.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0]).median
            2.0
        """
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(q1, median, q3)


@dataclass(frozen=True)
class Timing:
    """What one side took.

    Attributes:
        milliseconds: Per call.
        ratio: To the baseline of the same round.
        rounds: Number of samples.
    """

    milliseconds: Spread
    ratio: Spread
    rounds: int


def alternate(
    sides: Mapping[str, Callable[[], object]],
    baseline: str,
    *,
    seconds: float,
    minimum_rounds: int = 7,
    sample_ms: float = 4.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times the sides in turn, so that a slow spell of the machine hits them all.

    Args:
        sides: Name to callable; each is called twice before the first sample.
        baseline: The side that ratios refer to.
        seconds: Time to spend, over all sides.
        minimum_rounds: Samples of every side, however long they take.
        sample_ms: A sample repeats short calls until it lasts about this long, in milliseconds.
        clock: Returns seconds.

    Returns:
        A :class:`Timing` per side, in the order given.
    """
    repeats = {}
    for name, function in sides.items():
        function()
        begin = clock()
        function()
        once = max((clock() - begin) * 1e3, 1e-3)
        repeats[name] = max(1, round(sample_ms / once))
    samples: dict[str, list[float]] = {name: [] for name in sides}
    begin, rounds = clock(), 0
    order = list(sides)
    while rounds < minimum_rounds or clock() - begin < seconds:
        for name in order:
            function, n = sides[name], repeats[name]
            start = clock()
            for _ in range(n):
                function()
            samples[name].append((clock() - start) * 1e3 / n)
        order = order[1:] + order[:1]
        rounds += 1
    reference = samples[baseline]
    result = {}
    for name, values in samples.items():
        ratios = [value / base for value, base in zip(values, reference, strict=True)]
        result[name] = Timing(Spread.of(values), Spread.of(ratios), rounds)
    return result
