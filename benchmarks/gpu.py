"""Measures the Triton kernels on a GPU in one call and writes one JSON.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json

Parity first (a layer that fails it is given no times), then times with CUDA events of every suite
of ``rfaconv bench``, eager and as a CUDA graph, memory, the share of the roofline, and a training
run with and without the kernels. ``--device cpu --smoke`` runs every part at toy size, without a
GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu_parts import Stopwatch, alternate, captured, ceilings, convergence, kept, peak, prepare
from predict_gpu import counts

from rfaconv.backends.cases import Case, parity
from rfaconv.bench.cases import SUITES, BenchCase
from rfaconv.bench.environment import describe
from rfaconv.errors import RFAConvError
from rfaconv.geometry import Window

SIDES = ("conv", "conv-nhwc", "published", "compiled", "reference", "fused")
BASELINE = "conv-nhwc"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--batch", type=int, default=64, help="images, for layers")
    parser.add_argument("--network-batch", type=int, default=128, help="images, for networks")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--operators", nargs="+", default=["rfa", "rfcbam", "rfca"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=200, help="of the training run; 0 for none")
    parser.add_argument("--tune", action="store_true", help="time the table's candidates first")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, to try the script itself")
    return parser.parse_args(argv)


def parity_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every op on this device against the reference in float64, forward and each gradient."""
    base = Case(device=options.device, channels=19, out_channels=21, size=(13, 10))
    cases: list[Case] = []
    windows = (Window.create(3), Window.create(3, 2), Window.create(5, 1, 3, 2), Window.create(1))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for window in windows[:1] if options.smoke else windows:
            shape = replace(base, dtype=dtype, window=window, channels_last=dtype != torch.float32)
            if dtype != torch.float32:
                shape = replace(shape, channels=24)  # in eights, which have a kernel of their own
            cases.append(replace(shape, op="patch_moments"))
            cases += [replace(shape, op="feature_stats", variant=v) for v in ("rfcbam", "rfca")]
            cases += [replace(shape, variant=v) for v in ("rfa", "rfcbam", "rfca", "none")]
    cases.append(replace(base, op="patch_moments", mean=100.0))
    return [judge(case) for case in cases]


def judge(case: Case) -> dict[str, Any]:
    """One parity case as a row."""
    try:
        rows = parity(case)
    except (RFAConvError, RuntimeError) as error:
        return {"case": str(case), "passed": False, "note": f"{type(error).__name__}: {error}"}
    failed = [str(row) for row in rows if not row.passed]
    worst = max(row.error / row.limit for row in rows)
    return {"case": str(case), "passed": not failed, "worst": worst, "note": "; ".join(failed)}


def layer_parity(case: BenchCase, operator: str, options: argparse.Namespace) -> str:
    """What fails on this layer's channels and window; empty if it may be timed."""
    if case.network:
        return ""
    problem = Case(
        variant=operator,
        device=options.device,
        dtype=DTYPES[options.dtype],
        channels_last=True,
        channels=case.in_channels,
        out_channels=case.out_channels,
        size=(14, 10),
        window=Window.create(case.kernel, case.stride),
    )
    return str(judge(problem)["note"])


def measure(
    case: BenchCase, operator: str, training: bool, options: argparse.Namespace, top: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of one layer or network: a time or a reason for every side."""
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    batch = options.network_batch if case.network else options.batch
    common = {
        "case": case.name,
        "operator": operator,
        "mode": "training" if training else "inference",
        "batch": batch,
    }
    failed = layer_parity(case, operator, options)
    watch, steps, extras = Stopwatch(device), {}, {}
    for side in options.sides:
        if side == "fused" and failed:
            yield {**common, "side": side, "status": "refused", "note": failed}
            continue
        try:
            module, x, step = prepare(case, side, operator, training, batch, device, dtype)
            step()
            extra: dict[str, Any] = {"peak_bytes": peak(step, device)}
            if training and side != "compiled":
                extra["saved_bytes"] = kept(module, x, device, dtype)
            if case.network and training and side != "compiled":
                _, _, half = prepare(case, side, operator, training, batch // 2, device, dtype)
                extra["peak_bytes_half_batch"] = peak(half, device)
                del half
            if side in (BASELINE, "fused"):
                graph = captured(step, watch.cuda)
                if graph is not None:
                    steps[f"{side} graph"] = graph
        except (RFAConvError, RuntimeError) as error:
            note = f"{type(error).__name__}: {error}"[:500]
            yield {**common, "side": side, "status": "error", "note": note}
            continue
        steps[side], extras[side] = step, extra
    if BASELINE not in steps:
        return
    rounds = 3 if options.smoke else options.rounds
    times = alternate(steps, BASELINE, watch, rounds, 1.0 if options.smoke else 20.0)
    for side, spread in times.items():
        row = {**common, "side": side, "status": "ok", **spread, **extras.get(side, {})}
        if side in ("fused", BASELINE, "fused graph", f"{BASELINE} graph") and not case.network:
            row["roofline"] = roofline(case, operator, side, training, batch, dtype, spread, top)
        yield row


def roofline(
    case: BenchCase,
    operator: str,
    side: str,
    training: bool,
    batch: int,
    dtype: torch.dtype,
    spread: dict[str, Any],
    top: dict[str, Any],
) -> dict[str, float]:
    """Share of the time that the least bytes and operations take at the measured ceilings."""
    least = counts(
        case, "conv" if side.startswith("conv") else operator, training, batch, dtype.itemsize
    )
    seconds = spread["ms"]["median"] / 1e3
    bandwidth = least.bytes / top["copy_bytes_per_s"]
    product = least.product_flops / top["product_flops_per_s"]
    return {
        "bytes": least.bytes,
        "product_flops": least.product_flops,
        "vector_instructions": least.vector,
        "share": max(bandwidth, product) / seconds,
    }


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Geometric means over the layers of ResNet-18 of each side's time relative to cuDNN's."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and row["case"].startswith("resnet18.layer"):
            key = f"{row['operator']} {row['mode']} {row['side']}"
            groups.setdefault(key, []).append(row["ratio"]["median"])
    return {k: math.exp(sum(map(math.log, v)) / len(v)) for k, v in sorted(groups.items())}


def main(argv: list[str]) -> int:
    options = arguments(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("needs a CUDA device; --device cpu --smoke tries the script without one")
        return 2
    if options.tune:
        os.environ["RFACONV_TRITON_TUNE"] = "1"
        os.environ.setdefault("RFACONV_TRITON_CACHE", str(options.out.parent))
    if options.smoke:
        options.batch, options.network_batch, options.steps = 2, 2, min(options.steps, 2)
    result: dict[str, Any] = {"environment": describe(), "options": {**vars(options)}}
    result["options"]["out"] = options.out.name
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        result["device"] = {
            "name": found.name,
            "multiprocessors": found.multi_processor_count,
            "memory": found.total_memory,
            "capability": f"{found.major}.{found.minor}",
        }
    result["parity"] = parity_rows(options)
    result["ceilings"] = ceilings(device, DTYPES[options.dtype], Stopwatch(device))
    rows: list[dict[str, Any]] = []
    for suite in options.suites:
        cases = SUITES[suite][:1] if options.smoke else SUITES[suite]
        for case in cases:
            small = replace(case, size=64 if case.network else 14) if options.smoke else case
            for operator in options.operators:
                for training in (False, True):
                    print(f"{case.name}, {operator}, {'training' if training else 'inference'}")
                    rows += measure(small, operator, training, options, result["ceilings"])
                    gc.collect()
    result |= {"rows": rows, "geometric_means": means(rows)}
    if options.steps:
        size, batch = (32, 4) if options.smoke else (64, 64)
        result["training"] = convergence(options.steps, device, DTYPES[options.dtype], size, batch)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, allow_nan=False))
    os.replace(part, options.out)
    failures = [row["case"] for row in result["parity"] if not row["passed"]]
    print(f"wrote {options.out}; parity failed for {failures or 'nothing'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
