"""Images a second of whole trainings by ``rfaconv train``: operators, threads, processes.

    python benchmarks/throughput.py operators --root DATA
    python benchmarks/throughput.py processes --root DATA

Cases take turns, round by round, and the median over rounds is kept, so that what else the
machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from rfaconv.bench.environment import environment
from rfaconv.files import strict_json, write_atomic

PLACE = Path(__file__).resolve().parent / "results"
CASES = {
    "operators": {
        name: ([f"model.operator={name}", "threads=1"], 1)
        for name in ("conv", "rfa", "rfcbam", "rfca")
    },
    "processes": {
        "1 process, 1 thread": (["threads=1"], 1),
        "1 process, 2 threads": (["threads=2"], 1),
        "2 processes, 1 thread each": (["threads=1"], 2),
    },
}
RECIPE = ["data.limit=1280", "epochs=2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=CASES)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    cases = CASES[args.what]
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(args.rounds):
        for name, (words, processes) in cases.items():
            rates[name].append(run([*RECIPE, *words, f"data.root={args.root}"], processes))
            print(f"round {number + 1}: {name} {rates[name][-1]:.0f} images/s", flush=True)
    first = median(next(iter(rates.values())))
    value = {
        "command": f"python benchmarks/throughput.py {args.what} --root DATA",
        "recipe": ["eurosat", *RECIPE],
        "cases": {
            name: {
                "words": cases[name][0],
                "processes": cases[name][1],
                "images_per_second": found,
                "time_relative_to_first": first / median(found),
            }
            for name, found in rates.items()
        },
        "environment": environment(torch.device("cpu")),
    }
    write_atomic(PLACE / f"throughput-{args.what}.json", strict_json(value))


def run(words: list[str], processes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rfaconv.cli.main", "train", "eurosat", *words,
                   "--accelerator", "cpu", "--devices", str(processes), "--out", f"{folder}/run",
                   "--strategy", "ddp" if processes > 1 else "auto"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        value = json.loads(Path(folder, "run", "result.json").read_text(encoding="utf-8"))
        return float(value["measured"]["images_per_second"])


if __name__ == "__main__":
    main()
