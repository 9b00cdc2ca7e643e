"""Holds the training `rfaconv train eurosat` against the accuracy that docs/results.md states.

rfaconv train eurosat data.root=DATA
python benchmarks/readme_run.py runs/eurosat
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rfaconv.compare.stats import mean_and_std
from rfaconv.files import strict_json, write_atomic
from rfaconv.recipes import read_recipe
from rfaconv.training.build import read_run

RESULTS = Path(__file__).resolve().parent / "results"
COMMAND = "rfaconv train eurosat data.root=DATA"


def stated() -> tuple[float, float]:
    """Mean and standard deviation of the seeds of the results page."""
    files = sorted(RESULTS.glob("accuracy/operators-eurosat-rfa-seed*.json"))
    mean, std = mean_and_std(
        [json.loads(f.read_text(encoding="utf-8"))["result"]["top1"] for f in files]
    )
    assert std is not None
    return mean, std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    recipe = read_run(run)
    if recipe != read_recipe("eurosat", [f"data.root={recipe.data.root}"]):
        raise SystemExit(f"{run} is not of {COMMAND}")
    mean, std = stated()
    value = json.loads((run / "result.json").read_text(encoding="utf-8"))
    top1 = value["result"]["top1"]
    within = abs(top1 - mean) <= 2 * std
    stated_as = {"mean": mean, "std": std, "within_two_std": within}
    text = strict_json({"command": COMMAND, "stated": stated_as, **value})
    write_atomic(RESULTS / "readme-eurosat.json", text)
    print(
        f"top-1 {top1:.2%}, stated {mean:.2%} ± {2 * std:.2%}: {'within' if within else 'OUTSIDE'}"
    )
    if not within:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
