"""Times layers in eager inference as one call of the library and as separate operations.

python benchmarks/one_call.py --out benchmarks/results/cpu-one-call.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.progress import track

from rfaconv.bench.cases import SUITES
from rfaconv.bench.environment import describe
from rfaconv.bench.sides import build
from rfaconv.files import strict_json, write_atomic
from rfaconv.nn._receptive_field import ReceptiveFieldConv

OPERATORS = ("rfa", "rfcbam", "rfca")
ROUNDS = {1: 60, 8: 20}


def ways(case: Any, operator: str, batch: int) -> list[float]:
    """Milliseconds of the convolution, of the separate operations and of the one call."""
    x = torch.relu(torch.randn(batch, case.in_channels, case.size, case.size))
    convolution = build(case, "conv", operator, training=False)
    layer = build(case, "fused", operator, training=False)
    one_call = ReceptiveFieldConv._attend
    samples: list[list[float]] = [[], [], []]
    for _ in range(ROUNDS[batch] + 1):
        for i, run in enumerate((convolution, layer, layer)):
            ReceptiveFieldConv._attend = one_call if i == 2 else lambda *_: None  # type: ignore[method-assign]
            start = time.perf_counter()
            run(x)
            samples[i].append((time.perf_counter() - start) * 1e3)
    ReceptiveFieldConv._attend = one_call  # type: ignore[method-assign]
    return [median(s[1:]) for s in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(2)
    rows = []
    cases = [(b, c, o) for b in ROUNDS for c in SUITES["resnet18"] for o in OPERATORS]
    with torch.inference_mode():
        for batch, case, operator in track(cases, "layers"):
            convolution, separate, one = ways(case, operator, batch)
            rows.append(
                {
                    "batch": batch,
                    "case": case.name,
                    "operator": operator,
                    "convolution_ms": convolution,
                    "separate_ms": separate,
                    "one_call_ms": one,
                }
            )
    result = {"environment": describe(), "threads": 2, "rounds": ROUNDS, "rows": rows}
    write_atomic(out, strict_json(result))


if __name__ == "__main__":
    main()
