"""The backends by name, in order of priority: a new one is a folder beside this file and a name in
the tuple.
"""

from __future__ import annotations

from importlib import import_module

from rfaconv.backends.base import Backend

__all__ = ["BACKENDS", "PRIORITY"]

PRIORITY = ("triton", "cpu")
"""Backends in the order in which ``auto`` asks them; the reference, which runs everything, comes
after them.
"""

BACKENDS: dict[str, Backend] = {
    name: import_module(f"rfaconv.backends.{name}").BACKEND for name in PRIORITY
}
