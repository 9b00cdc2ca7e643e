"""The one place that times calls: alone, or several in turn so that they can be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Spread", "Timing", "alternate", "in_turns", "median_ms", "seconds_of"]

Clock = Callable[[], float]
"""Returns seconds; one of a device waits first for what it still has to do."""


def seconds_of(
    function: Callable[[], object], repeats: int = 1, clock: Clock = time.perf_counter
) -> float:
    """Seconds of a call, the mean of ``repeats`` in a row."""
    begin = clock()
    for _ in range(repeats):
        function()
    return (clock() - begin) / repeats


def median_ms(function: Callable[[], object], seconds: float, least: int = 3) -> float:
    """Median milliseconds of a call.

    Args:
        function: what is timed; it was called before.
        seconds: to spend.
        least: calls, however long they take.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        times.append(1e3 * seconds_of(function))
    return statistics.median(times)


def in_turns(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 1,
    settle: bool = False,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every side in every round; the sides take turns.

    Args:
        sides: name to callable.
        rounds: samples of each.
        warmup: rounds before, which do not count.
        settle: call each side once more right before its sample, so that caches and threads are its
            own.
        clock: returns seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, function in sides.items():
            if settle:
                function()
            took = seconds_of(function, clock=clock)
            if turn >= warmup:
                times[name].append(took)
    return times


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
    clock: Clock = time.perf_counter,
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
        once = max(1e3 * seconds_of(function, clock=clock), 1e-3)
        repeats[name] = max(1, round(sample_ms / once))
    samples: dict[str, list[float]] = {name: [] for name in sides}
    begin, rounds = clock(), 0
    order = list(sides)
    while rounds < minimum_rounds or clock() - begin < seconds:
        for name in order:
            samples[name].append(1e3 * seconds_of(sides[name], repeats[name], clock))
        order = order[1:] + order[:1]
        rounds += 1
    reference = samples[baseline]
    result = {}
    for name, values in samples.items():
        ratios = [value / base for value, base in zip(values, reference, strict=True)]
        result[name] = Timing(Spread.of(values), Spread.of(ratios), rounds)
    return result
