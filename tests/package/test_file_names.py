"""Files of tests have names of their own: pytest imports them all as top-level modules, so of two
with one name the second cannot be collected beside the first, while each passes alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
APART = TESTS / "backends" / "triton" / "interpreted"
"""Collected in a process of its own."""


def test_no_two_files_share_a_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("test_*.py") if APART not in path.parents)
    assert not [name for name, times in names.items() if times > 1]
