"""What the writers of pages share: results by name, tables in Markdown, and the marks they fill.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rfaconv.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Tables = Mapping[str, Callable[[], list[str]]]


def load(name: str) -> Any:
    """A file of the results, by its name without the ending."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = [
        "|" + "".join(f" {cell} |" if cell != "" else " |" for cell in row)
        for row in (heads, *rows)
    ]
    return [lines[0], "|---" * len(heads) + "|", *lines[1:]]


def fill(pages: Iterable[str], tables: Tables) -> None:
    """Makes the tables of pages anew; their names are relative to the repository."""

    def made(match: re.Match[str]) -> str:
        if match[1] not in tables:  # another script's, on the same page
            return match[0]
        lines = "\n".join(tables[match[1]]())
        return f"<!-- table {match[1]} -->\n{lines}\n<!-- end -->"

    pattern = re.compile(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
    for name in pages:
        text = (ROOT / name).read_text(encoding="utf-8")
        write_atomic(ROOT / name, pattern.sub(made, text))
