"""ultralytics' own command, with the operators known."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rfaconv.integrations import register


def run(words: Sequence[str]) -> None:
    """Does what ``yolo WORDS...`` does; what that raises comes through.

    Args:
        words: the words behind ``yolo``, one a piece: a path with spaces is one word.
    """
    with _words(["yolo", *words]):
        register("ultralytics")
        import_module("ultralytics.cfg").entrypoint()


@contextmanager
def _words(words: list[str]) -> Iterator[None]:
    """``sys.argv``, and the name by which ultralytics remembers that list, hold ``words``."""
    lists: list[list[str]] = [sys.argv]
    for name in ("ultralytics.utils", "ultralytics.cfg"):
        remembered: Any = getattr(sys.modules.get(name), "ARGV", None)
        if isinstance(remembered, list) and all(remembered is not known for known in lists):
            lists.append(remembered)
    before = [list(known) for known in lists]
    for known in lists:
        known[:] = words
    try:
        yield
    finally:
        for known, old in zip(lists, before, strict=True):
            known[:] = old
