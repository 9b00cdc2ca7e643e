"""Measures the operators against the convolution they replace. May import everything below L7.

``rfaconv bench`` is its command line. A case is refused a time unless parity holds for it in the
same run; sides alternate; medians with quartiles, losses included.
"""

from __future__ import annotations

from rfaconv.bench.cases import SIDES, SUITES, BenchCase, parse_suite
from rfaconv.bench.runner import Settings, run

__all__ = ["SIDES", "SUITES", "BenchCase", "Settings", "parse_suite", "run"]
