#!/usr/bin/env python3
"""Checks that version, changelog and citation agree before a release.

    python3 tools/release/check.py               the files agree with each other
    python3 tools/release/check.py --tag v1.2.3  and with the tag; the changelog's entry has a date

The version stands in ``src/rfaconv/__init__.py``; the build reads it there, as this does.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def _find(path: str, pattern: str, root: Path) -> str:
    found = re.search(pattern, (root / path).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path}: nothing matches {pattern}")
    return found[1]


def problems(root: Path, tag: str | None = None) -> list[str]:
    """What does not agree, one line each.

    Args:
        root: The repository.
        tag: Of the release, as ``v1.2.3``; None while nothing is released.
    """
    found = []
    version = _find("src/rfaconv/__init__.py", r'^__version__ = "([^"]+)"$', root)
    cited = _find("CITATION.cff", r"^version: (\S+)$", root)
    if cited != version:
        found.append(f"CITATION.cff has version {cited}, the package {version}")
    heading, state = version, _find("CHANGELOG.md", r"^## (.+)$", root)
    if not state.startswith(heading + " "):
        found.append(f"CHANGELOG.md begins with '{state}', expected '{version} (...)'")
    if tag is None:
        return found
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the package's version {version}")
    if re.fullmatch(re.escape(version) + r" \(\d{4}-\d{2}-\d{2}\)", state) is None:
        found.append(f"CHANGELOG.md: '{state}' has no date; expected '{version} (YYYY-MM-DD)'")
    return found


def main() -> None:
    """Prints what is wrong; the exit status is 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tag", help="tag of the release, as v1.2.3")
    found = problems(ROOT, parser.parse_args().tag)
    print("\n".join(found) or "version, changelog and citation agree")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
