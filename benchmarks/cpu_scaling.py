"""Times the operators with one and two threads, and per image from batch 4 to 64, on the CPU.

python benchmarks/cpu_scaling.py --out benchmarks/results/cpu-scaling.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from rich.progress import track

from rfaconv.bench.cases import SUITES
from rfaconv.bench.environment import describe
from rfaconv.bench.sides import build
from rfaconv.files import strict_json, write_atomic

THREADS = (1, 2)
BATCHES = (4, 8, 16, 32, 64)
SIDES = ("conv", "rfa", "rfcbam", "rfca")


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def milliseconds(
    function: Callable[[], object], threads: tuple[int, ...], rounds: int
) -> list[float]:
    """Medians per number of threads, which take turns."""
    samples: dict[int, list[float]] = {n: [] for n in threads}
    for round_ in range(rounds + 1):
        for n in threads:
            torch.set_num_threads(n)
            function()  # the pool of threads settles
            took = seconds(function)
            if round_ > 0:
                samples[n].append(took * 1e3)
    return [median(samples[n]) for n in threads]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    rows = []
    with torch.inference_mode():
        for case in track(SUITES["resnet18"], "layers"):
            if case.name.endswith("layer1.1"):  # the same shape as layer1.0
                continue
            for side in SIDES:
                kind = ("conv", "rfa") if side == "conv" else ("fused", side)
                module = build(case, *kind, training=False)
                row = {"case": case.name, "side": side}
                maps = {b: torch.rand(b, case.in_channels, case.size, case.size) for b in BATCHES}
                row["ms_by_threads"] = milliseconds(partial(module, maps[8]), THREADS, words.rounds)
                row["ms_per_image_by_batch"] = [
                    milliseconds(partial(module, x), (max(THREADS),), words.rounds // 2)[0] / b
                    for b, x in maps.items()
                ]
                rows.append(row)
    torch.set_num_threads(max(THREADS))
    result = {"environment": describe(), "threads": THREADS, "batches": BATCHES, "rows": rows}
    write_atomic(words.out, strict_json(result))


if __name__ == "__main__":
    main()
