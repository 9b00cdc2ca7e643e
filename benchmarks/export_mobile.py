"""Exports networks to the runtimes of phones, runs them where a runtime is here, and compares.

One file collects the results of several calls: the packages do not go together in one environment.

    python benchmarks/export_mobile.py --to executorch --out benchmarks/results/export-mobile.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfaconv.export import Source, export, load_exported
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source
from rfaconv.nn import CONVOLUTIONS
from rfaconv.variants import OPERATORS

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "executorch": ("x.pte", ("executorch",)),
    "litert": ("x.tflite", ("litert-torch", "ai-edge-litert")),
    "ncnn": ("x.ncnn.param", ("ncnn", "pnnx")),
    "coreml": ("x.mlpackage", ("coremltools",)),
}


def layer(operator: str) -> Source:
    """A layer with the tail it has in networks, its statistics as if trained."""
    torch.manual_seed(0)
    conv = CONVOLUTIONS[operator](32, 32, 3)
    network = nn.Sequential(conv, nn.BatchNorm2d(32), nn.ReLU())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return Source(network.eval(), operator, (56, 56), channels=32)


def sources() -> Iterator[tuple[str, Callable[[], Source]]]:
    for operator in OPERATORS:
        yield f"{operator} layer", lambda operator=operator: layer(operator)
    yield "rfa_resnet18 at 224", lambda: load_source("rfa_resnet18", size=(224, 224))
    eurosat = str(ROOT / "weights" / "eurosat-rfa")
    yield "eurosat-rfa, trained", lambda: load_source(eurosat)


def median(function: Callable[[torch.Tensor], Any], x: torch.Tensor) -> float:
    """Milliseconds of a call."""
    times, end = [], time.perf_counter() + 1
    function(x)
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        function(x)
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)[len(times) // 2]


def measured(source: Source, to: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    network = source.network.eval()
    x = torch.randn(1, source.channels, *source.input_size)
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = export(source, Path(folder) / FILES[to][0], to)
        except Exception as failure:  # every converter has its own
            lines = str(failure).strip().splitlines() or [""]
            return {"holds": False, "reason": f"{type(failure).__name__}: {lines[0]}"[:300]}
        if to == "coreml":
            return {"converted": True}
        with torch.no_grad():
            wanted = network.double()(x.double())
            network.float()
            run = load_exported(made.path, threads=1)
            error = float((run(x).double() - wanted).abs().max() / wanted.abs().max())
            row = {"error": error, "holds": error <= 1e-5}
            row |= {"ms": median(run, x), "torch_ms": median(network, x)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, choices=list(FILES))
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    torch.set_num_threads(1)
    content = {"rows": []}
    if words.out.exists():
        content = json.loads(words.out.read_text(encoding="utf-8"))
    versions = {"torch": torch.__version__}
    for name in FILES[words.to][1]:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            parser.error(f"{name} is not installed")
    for name, make in sources():
        row = {"target": words.to, "network": name, **measured(make(), words.to)}
        row["versions"] = versions
        print(row, flush=True)
        key = (row["target"], row["network"])
        rows = [r for r in content["rows"] if (r["target"], r["network"]) != key]
        content["rows"] = [*rows, row]
        write_atomic(words.out, strict_json(content))


if __name__ == "__main__":
    main()
