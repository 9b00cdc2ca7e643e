#!/usr/bin/env python3
"""Times the installation of a finished wheel with nothing but Python on the path.

    python3 tools/wheels/install.py WHEEL --python PYTHON --record benchmarks/results/wheels.json

PYTHON has torch. It is not a part of run.py because it wants a machine without other work. After
the last installation the kernels must load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import execute

ROOT = Path(__file__).resolve().parents[2]
LOADED = """
import sys, rfaconv
from rfaconv.backends.cpu import BACKEND
assert rfaconv.__file__.startswith(sys.argv[1]), rfaconv.__file__
print(BACKEND.status().details["isa"])
"""


def processor() -> str:
    """The processor's name, as far as the system says it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Installs several times, loads the kernels, records."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", required=True, help="a Python with torch")
    parser.add_argument("--record", type=Path, help="the JSON file of run.py")
    parser.add_argument("--platform", default="linux-x86_64", help="its entry there")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    wheel = args.wheel.resolve()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "installed"
        seconds = [execute.install(wheel, target, args.python) for _ in range(args.times)]
        # not from the folder that this runs in, nor from what is installed in that Python
        loaded = subprocess.run(
            [args.python, "-P", "-c", LOADED, target], check=True, text=True, capture_output=True,
            env={**os.environ, "PYTHONPATH": str(target)},
        ).stdout.strip()  # fmt: skip
    print(f"{wheel.name}: {', '.join(f'{s:.2f}' for s in seconds)} s; kernels: {loaded}")
    if args.record is None:
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True,
                            text=True, capture_output=True)  # fmt: skip
    content = json.loads(args.record.read_text(encoding="utf-8"))
    content[args.platform]["installation"] = {
        "seconds": [round(s, 2) for s in seconds],
        "median": round(statistics.median(seconds), 1),
        "bytes": wheel.stat().st_size,
        "kernels": loaded,
        "processor": processor(),
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
    }
    args.record.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
