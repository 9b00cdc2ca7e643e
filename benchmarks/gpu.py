"""Measures the Triton kernels on a GPU in one call and writes one JSON.

    PYTHONPATH=src python benchmarks/gpu.py --out benchmarks/results/gpu.json

Parity first (a layer that fails it is given no times), then a training run with and without the
kernels, then times with CUDA events of every suite of ``rfaconv bench``, eager and as a CUDA graph,
memory, and the share of the roofline; at last torch.compile of the published formulation. A section
that fails leaves its error in the JSON, which is written after every section; what ``--seconds``
leave no time for is named in it. ``--device cpu --smoke`` runs every part at toy size, without a
GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu_network import with_timm
from gpu_parts import Stopwatch, alternate, captured, ceilings, convergence, kept, peak, prepare
from predict_gpu import counts

from rfaconv.backends.cases import Case, parity
from rfaconv.bench.cases import SUITES, BenchCase
from rfaconv.bench.environment import describe
from rfaconv.geometry import Window

SIDES = ("conv", "conv-nhwc", "published", "compiled", "reference", "fused")
BASELINE = "conv-nhwc"
GRACE = 30.0
"""Seconds after ``--seconds`` at which the call ends whatever happens."""
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=440, help="after which nothing is begun")
    parser.add_argument("--sections", nargs="+", help="only these keys of the result")
    parser.add_argument("--steps", type=int, default=200, help="of the training run; 0 for none")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, to try the script itself")
    return parser.parse_args(argv)


def parity_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every op on this device against the reference in float64, forward and each gradient."""
    backend = "triton" if options.device == "cuda" else options.device
    base = Case(device=options.device, backend=backend, channels=19, out_channels=21, size=(13, 10))
    cases: list[Case] = []
    windows = (Window.create(3), Window.create(3, 2), Window.create(1))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for window in windows[:1] if options.smoke else windows:
            shape = replace(base, dtype=dtype, window=window, channels_last=dtype != torch.float32)
            if dtype != torch.float32:
                shape = replace(shape, channels=32)  # in sixteens, which have kernels of their own
            cases.append(replace(shape, op="patch_moments"))
            cases += [replace(shape, op="feature_stats", variant=v) for v in ("rfcbam", "rfca")]
            cases += [replace(shape, variant=v) for v in ("rfa", "rfcbam", "rfca", "none")]
            if options.device == "cuda":
                cases += [replace(shape, op="linked", variant=v) for v in ("rfcbam", "rfca")]
    cases.append(replace(base, op="patch_moments", mean=100.0))
    # common windows first: a third of the time is what this may take
    cases.sort(key=lambda case: case.window != windows[0])
    rows: list[dict[str, Any]] = []
    for case in cases:
        if time.monotonic() > options.begin + options.seconds / 3:
            rows.append({"case": str(case), "passed": None, "note": "no time left"})
        else:
            rows.append(judge(case))
    return rows


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"[:500]


def judge(case: Case) -> dict[str, Any]:
    """One parity case as a row."""
    try:
        rows = parity(case)
    except Exception as error:  # what a device or compiler raises is not ours to list
        return {"case": str(case), "passed": False, "note": said(error)}
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
        backend="triton" if options.device == "cuda" else options.device,
        dtype=DTYPES[options.dtype],
        channels_last=True,
        channels=case.in_channels,
        out_channels=case.out_channels,
        size=(14, 10),
        window=Window.create(case.kernel, case.stride),
    )
    problems = [problem]
    if options.device == "cuda" and operator in ("rfcbam", "rfca"):
        problems.append(replace(problem, op="linked"))
    return "; ".join(filter(None, (str(judge(each)["note"]) for each in problems)))


def measure(
    case: BenchCase,
    operator: str,
    training: bool,
    sides: list[str],
    options: argparse.Namespace,
    top: dict[str, Any],
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
    failed = layer_parity(case, operator, options) if "fused" in sides else ""
    watch, steps, extras = Stopwatch(device), {}, {}
    for side in sides:
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
        except Exception as error:  # one side must not take the others along
            yield {**common, "side": side, "status": "error", "note": said(error)}
            continue
        steps[side], extras[side] = step, extra
        if side in (BASELINE, "fused"):
            try:
                graph = captured(step, watch.cuda)
            except Exception as error:  # the eager times stay
                note = said(error)
                yield {**common, "side": f"{side} graph", "status": "error", "note": note}
                continue
            if graph is not None:
                steps[f"{side} graph"] = graph
    if BASELINE not in steps:
        return
    rounds = 3 if options.smoke else options.rounds
    times = alternate(steps, BASELINE, watch, rounds, 1.0 if options.smoke else 10.0)
    for side, spread in times.items():
        row = {**common, "side": side, "status": "ok", **spread, **extras.get(side, {})}
        ours = side in ("fused", BASELINE, "fused graph", f"{BASELINE} graph")
        if ours and not case.network and top:
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


def timed(options: argparse.Namespace, result: dict[str, Any]) -> Iterator[None]:
    """Adds the rows of every case to the result, the most important first; yields after each."""
    rows: list[dict[str, Any]] = result.setdefault("rows", [])
    plain = [side for side in options.sides if side != "compiled"]
    passes = [plain]
    if "compiled" in options.sides:  # each takes a compilation, so these come last
        passes.append([BASELINE, "compiled"])
    for sides in passes:
        for suite in options.suites:
            for operator in options.operators:
                for case in SUITES[suite][:1] if options.smoke else SUITES[suite]:
                    for training in (False, True):
                        small = replace(case, size=64 if case.network else 14)
                        what = f"{case.name}, {operator}, {'training' if training else 'inference'}"
                        if time.monotonic() > options.begin + options.seconds:
                            result.setdefault("no_time_for", []).append([what, sides])
                            continue
                        print(what, flush=True)
                        found = measure(
                            small if options.smoke else case, operator, training, sides, options,
                            result.get("ceilings", {}),
                        )  # fmt: skip
                        # the baseline of the second pass has been told already
                        rows += [r for r in found if sides is plain or r["side"] == "compiled"]
                        gc.collect()
                        yield


def sections(
    options: argparse.Namespace, result: dict[str, Any]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of the parts of the result and what computes them, the most important first."""
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    yield "environment", describe
    if device.type == "cuda":
        yield "device", lambda: properties(device)
    yield "parity", lambda: parity_rows(options)
    yield "ceilings", lambda: ceilings(device, dtype, Stopwatch(device))
    if options.steps:
        size, batch = (32, 4) if options.smoke else (64, 64)
        yield "training", lambda: convergence(options.steps, device, dtype, size, batch)

    def rows() -> list[dict[str, Any]]:
        for _ in timed(options, result):
            write(options.out, result)
        found: list[dict[str, Any]] = result["rows"]
        return found

    yield "rows", rows
    yield "geometric_means", lambda: means(result.get("rows", []))


def properties(device: torch.device) -> dict[str, Any]:
    """What the device is."""
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "multiprocessors": found.multi_processor_count,
        "memory": found.total_memory,
        "capability": f"{found.major}.{found.minor}",
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    # NaN and all: a strange loss is a result too
    part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    os.replace(part, path)


def lost(device: torch.device) -> str:
    """Why nothing more can run on the device, after an illegal access for example; else empty."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:
        return said(error)
    return ""


def give_up(path: Path, result: dict[str, Any]) -> None:
    """Writes what there is and ends the process, whatever it is in."""
    try:
        late = "the time was over and something still ran"
        write(path, {**result, "errors": {**result["errors"], "time": {"error": late}}})
        print(f"wrote {path}; {late}", flush=True)
    finally:
        os._exit(1)


def main(argv: list[str]) -> int:
    options = arguments(argv)
    options.begin = time.monotonic()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("needs a CUDA device; --device cpu --smoke tries the script without one")
        return 2
    if options.smoke:
        options.batch, options.network_batch, options.steps = 2, 2, min(options.steps, 2)
    told = {name: value for name, value in vars(options).items() if name not in ("out", "begin")}
    result: dict[str, Any] = {"options": told, "errors": {}, "seconds": {}}
    result["networks"] = "timm" if with_timm() else "stand-in, timm is not installed"
    # what has begun by then (a compilation, a kernel that never ends) must not keep the call
    watchdog = threading.Timer(options.seconds + GRACE, give_up, (options.out, result))
    watchdog.daemon = True
    watchdog.start()
    for name, compute in sections(options, result):
        if name not in (options.sections or (name,)):
            continue
        before = time.monotonic()
        try:
            result[name] = compute()
        except Exception as error:  # the other sections go on
            result["errors"][name] = {"error": said(error), "trace": traceback.format_exc()}
        result["seconds"][name] = round(time.monotonic() - before, 1)
        gone = lost(device)
        if gone:
            result["errors"]["device"] = {"error": gone, "trace": f"after {name}"}
        write(options.out, result)
        print(f"{name}: {result['seconds'][name]} s", flush=True)
        if gone:
            break
    watchdog.cancel()
    failures = [row["case"] for row in result.get("parity", []) if row["passed"] is False]
    errors = list(result["errors"])
    print(f"wrote {options.out}; parity failed for {failures or 'nothing'}; errors: {errors}")
    return 1 if failures or errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
