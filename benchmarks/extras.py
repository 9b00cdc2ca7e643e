"""Measures what every extra of pyproject.toml brings: packages and megabytes on the disk.

It follows the requirements of the packages installed in this environment, which must have all
extras, and adds up their files as their records name them.

    python benchmarks/extras.py --out benchmarks/results/extras.json
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rfaconv.files import strict_json, write_atomic

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ("models", "train", "plot", "segment", "ultralytics", "detect", "serve", "export", "all")


def size(package: Distribution) -> int:
    """Bytes of a package's files, without the compiled Python that grows with use."""
    files = package.files or []
    paths = [Path(str(package.locate_file(file))) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def follow(lines: list[str], found: dict[str, int], absent: set[str]) -> None:
    """Adds the packages that requirements bring, and those that these bring."""
    todo = [(Requirement(line), "") for line in lines]
    seen = set()
    while todo:
        wanted, extra = todo.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        if name == PROJECT["name"]:
            own = PROJECT["optional-dependencies"]
            todo += [(Requirement(line), "") for one in wanted.extras for line in own[one]]
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            absent.add(name)
            continue
        found.setdefault(name, size(package))
        for one in ("", *wanted.extras):
            if (name, one) not in seen:
                seen.add((name, one))
                todo += [(Requirement(line), one) for line in package.requires or []]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    absent: set[str] = set()
    base: dict[str, int] = {}
    follow(PROJECT["dependencies"], base, absent)
    extras = {}
    for name in NAMES:
        found: dict[str, int] = {}
        follow(PROJECT["optional-dependencies"][name], found, absent)
        extras[name] = {k: v for k, v in sorted(found.items()) if k not in base}
    if absent:
        sys.exit(f"not installed here, so not measured: {', '.join(sorted(absent))}")
    versions = {n: distribution(n).version for part in (base, *extras.values()) for n in part}
    value = {
        "platform": sysconfig.get_platform(),
        "python": sysconfig.get_python_version(),
        "versions": dict(sorted(versions.items())),
        "base": dict(sorted(base.items())),
        "extras": extras,
    }
    write_atomic(words.out, strict_json(value))


if __name__ == "__main__":
    main()
