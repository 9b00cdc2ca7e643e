"""Times exported ResNet-18s against the plain one in ONNX Runtime and OpenVINO.

python benchmarks/export.py make FOLDER
python benchmarks/export.py time FOLDER onnx 8 --out benchmarks/results/export-onnx-8.json

A network keeps the memory that it got when it was loaded, and with it a time that differs by a
quarter from load to load: every one is loaded several times, and ratios are medians over loads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import timm
import torch

import rfaconv.models  # noqa: F401  # registers the networks
from rfaconv.bench.environment import describe
from rfaconv.bench.published import put_published_
from rfaconv.bench.timing import alternate
from rfaconv.export import Source, export, load_exported
from rfaconv.files import strict_json, write_atomic

SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
OPERATORS = ("rfa", "rfcbam", "rfca")


def networks():
    """Name to network: the plain one, and ours and the published formulation per operator."""
    torch.manual_seed(0)
    yield "resnet18", timm.create_model("resnet18")
    for operator in OPERATORS:
        yield f"{operator}_resnet18", timm.create_model(f"{operator}_resnet18")
        network = timm.create_model("resnet18")
        put_published_(network, operator)
        yield f"{operator}_published", network
    for name in ("cam", "cbam", "ca"):
        yield f"{name}_resnet18", timm.create_model(f"{name}_resnet18")


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks():
        for target, suffix in SUFFIX.items():
            path = folder / f"{name}{suffix}"
            if not path.exists():
                print(path, flush=True)
                export(Source(network, name), path, target)


def measure(
    folder: Path, target: str, batch: int, threads: int, seconds: float, loads: int
) -> dict:
    x = torch.randn(batch, 3, 224, 224)
    paths = sorted(folder.glob(f"*{SUFFIX[target]}"))
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(loads):
        sides = {}
        for path in paths:
            run = load_exported(path, threads=threads)
            sides[path.stem] = lambda run=run: run(x)
        # several calls in a row, so that no network starts with another's weights in the cache
        timings = alternate(sides, "resnet18", seconds=seconds / loads, sample_ms=300)
        for name, timing in timings.items():
            lists = found.setdefault(name, {"ms": [], "ratios": []})
            lists["ms"].append(round(timing.milliseconds.median, 2))
            lists["ratios"].append(round(timing.ratio.median, 3))
    about = {"target": target, "batch": batch, "threads": threads, "size": 224, "loads": loads}
    medians = {
        name: {"ms": median(lists["ms"]), "ratio": median(lists["ratios"]), "loads": lists}
        for name, lists in found.items()
    }
    return {**about, "networks": medians, "environment": describe()}


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("folder", type=Path)
    timing = commands.add_parser("time")
    timing.add_argument("folder", type=Path)
    timing.add_argument("target", choices=SUFFIX)
    timing.add_argument("batch", type=int)
    timing.add_argument("--threads", type=int, default=2)
    timing.add_argument("--seconds", type=float, default=45)
    timing.add_argument("--loads", type=int, default=5)
    timing.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.folder)
    else:
        args = (given.folder, given.target, given.batch, given.threads, given.seconds)
        text = strict_json(measure(*args, given.loads))
        print(text) if given.out is None else write_atomic(given.out, text)


if __name__ == "__main__":
    main()
