"""Docstrings of this project as mkdocstrings wants them: examples as code, roles as links."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[2]
ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):`~?([\w.]+)`")


def public() -> dict[str, str]:
    """Where a public name is documented, by its full and its short name."""
    surface = json.loads((ROOT / "tests/package/surface.json").read_text(encoding="utf-8"))
    # longest first, so that the short name stands for the shortest path
    paths = sorted((f"{m}.{n}" for m, names in surface.items() for n in names), key=len)
    return {p.rpartition(".")[2]: p for p in reversed(paths)} | {p: p for p in paths}


class Docstrings(griffe.Extension):
    """Turns ``Example:`` into a section of code and Sphinx roles into code or links."""

    def __init__(self) -> None:
        self.public = public()

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that griffe has read."""
        if not obj.docstring:
            return
        text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
        obj.docstring.value = ROLE.sub(self._link, text)

    def _link(self, match: re.Match[str]) -> str:
        path = self.public.get(match[1])
        return f"[`{match[1]}`][{path}]" if path else f"`{match[1]}`"
