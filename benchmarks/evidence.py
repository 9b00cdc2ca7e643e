"""Judges every finished training of a grid of classifiers and writes what is found into one file.

python benchmarks/evidence.py GRID --json benchmarks/results/eurosat-converged-evidence.json

GRID is the folder of ``rfaconv compare`` with a study that has ``keep: all``; nothing is written
into it. What the file has of the same weights is not found anew. Then ``python -m docs.figures``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from rfaconv.errors import RFAConvError
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.evidence import grid_evidence


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("grid", type=Path, metavar="GRID")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = None
    if options.json.exists():
        known = json.loads(options.json.read_text(encoding="utf-8"))
    try:
        value = grid_evidence(
            options.grid, known,
            save=lambda value: write_atomic(options.json, strict_json(value)),
            say=lambda text: print(text, file=sys.stderr),
        )  # fmt: skip
    except RFAConvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_atomic(options.json, strict_json(value))
    for sentence in value["missing"]:
        print(f"missing: {sentence}")
    print(f"{len(value['runs'])} trainings in {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
