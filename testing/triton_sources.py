"""What the Triton suites judge, as hashes: while they are as recorded, the suites would say the
same again.

``python -m testing.triton_sources`` records them; ``.ci/nightly`` does after the suites passed.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "backends" / "triton" / "verified.json"
SOURCES = (
    "src/rfaconv/backends/*.py",
    "src/rfaconv/backends/triton/**/*.py",
    "src/rfaconv/ops/**/*.py",
    "src/rfaconv/reference/**/*.py",
    "src/rfaconv/functional/**/*.py",
    "src/rfaconv/nn/**/*.py",
    "src/rfaconv/*.py",
    "tests/backends/triton/**/*.py",
    "testing/*.py",
)
PACKAGES = ("torch", "triton", "numpy")


def current() -> dict[str, Any]:
    """Versions, and SHA-256 of every source by its path."""
    found = sorted({path for pattern in SOURCES for path in ROOT.glob(pattern)})
    hashes = {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
    }
    return {"versions": {name: _version(name) for name in PACKAGES}, "sources": hashes}


def changes() -> list[str]:
    """What differs from the record; all of it where there is none."""
    now = current()
    if not RECORD.is_file():
        return [f"no {RECORD.name}"]
    before = json.loads(RECORD.read_text(encoding="utf-8"))
    names = {**before["sources"], **now["sources"]}
    different = [n for n in names if before["sources"].get(n) != now["sources"].get(n)]
    versions = {**before["versions"], **now["versions"]}
    different += [
        f"{n} {before['versions'].get(n)} -> {now['versions'].get(n)}"
        for n in versions
        if before["versions"].get(n) != now["versions"].get(n)
    ]
    return sorted(different)


def record() -> None:
    """Writes the present state down."""
    RECORD.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    record()
    print(f"{RECORD.relative_to(ROOT)} is up to date")
