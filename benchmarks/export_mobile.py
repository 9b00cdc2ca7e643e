"""Exports networks to the runtimes of phones, runs them where a runtime is here, and compares.

One file collects the results of several calls: the packages do not go together in one environment.
Converting is slow and timing wants a quiet machine, so the two can be done apart:

    python benchmarks/export_mobile.py --to litert --work files --convert
    python benchmarks/export_mobile.py --to litert --work files --out \
        benchmarks/results/export-mobile.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="rfaconv-yolo-"))

import torch
from openvino_precision import processor
from torch import nn

import rfaconv
from rfaconv.export import Source, export, load_exported
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source
from rfaconv.nn import CONVOLUTIONS
from rfaconv.variants import OPERATORS

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "executorch": (".pte", ("executorch",)),
    "litert": (".tflite", ("litert-torch", "ai-edge-litert")),
    "ncnn": (".ncnn.param", ("ncnn", "pnnx")),
    "coreml": (".mlpackage", ("coremltools",)),
}
YOLO = "yolo11n-rfa"
SIDE = 320


def layer(operator: str) -> Source:
    """A layer with the tail it has in networks, its statistics as if trained."""
    conv = CONVOLUTIONS[operator](32, 32, 3)
    network = nn.Sequential(conv, nn.BatchNorm2d(32), nn.ReLU())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return Source(network.eval(), operator, (56, 56), channels=32)


def export_source(source: Source, to: str, path: Path) -> None:
    """By the function behind ``rfaconv export``."""
    export(source, path, to)


class Boxes(nn.Module):
    """A network of ultralytics without what its loss needs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The boxes and scores."""
        result: torch.Tensor = self.network(x)[0]
        return result


def yolo() -> Source:
    """An untrained YOLO."""
    import ultralytics

    rfaconv.register("ultralytics")
    network: Any = ultralytics.YOLO(f"{YOLO}.yaml").model.float().eval()
    return Source(Boxes(network), YOLO, (SIDE, SIDE))


def export_yolo(source: Source, to: str, path: Path) -> None:
    """By ``rfaconv yolo export``, which is ultralytics' exporter."""
    import ultralytics

    model: Any = ultralytics.YOLO(f"{YOLO}.yaml")
    model.model.load_state_dict(source.network.network.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)  # it writes beside a file that is not there
        try:
            made = Path(model.export(format=to, imgsz=SIDE, device="cpu")).resolve()
        finally:
            os.chdir(before)
        suffix = FILES[to][0]
        found = made if made.suffix == suffix else next(made.glob(f"*{suffix}"))
        (shutil.copytree if found.is_dir() else shutil.copy)(found, path)
        if to == "ncnn":
            weights = path.with_name(path.name.removesuffix("param") + "bin")
            shutil.copy(found.with_suffix(".bin"), weights)


@dataclass(frozen=True)
class Network:
    """One row: how the network is made and how it is exported."""

    name: str
    make: Callable[[], Source]
    write: Callable[[Source, str, Path], None] = export_source


NETWORKS = (
    *(Network(f"{o} layer", lambda operator=o: layer(operator)) for o in OPERATORS),
    Network("rfa_resnet18 at 224", lambda: load_source("rfa_resnet18", size=(224, 224))),
    Network("eurosat-rfa, trained", lambda: load_source(str(ROOT / "weights" / "eurosat-rfa"))),
    Network(f"{YOLO} at {SIDE}", yolo, export_yolo),
)


def median(function: Callable[[torch.Tensor], Any], x: torch.Tensor) -> float:
    """Milliseconds of a call."""
    times, end = [], time.perf_counter() + 1
    function(x)
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        function(x)
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)[len(times) // 2]


def converted(entry: Network, source: Source, to: str, path: Path) -> str | None:
    """Writes the file unless it is there; the reason if it cannot be written."""
    reason = path.with_name(f"{path.name}.reason")
    if not path.exists() and not reason.exists():
        try:
            entry.write(source, to, path)
        except Exception as failure:  # every converter has its own
            lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
            text = f"{type(failure).__name__}: {lines[0] if lines else ''}"[:300]
            reason.write_text(text, encoding="utf-8")
    return reason.read_text(encoding="utf-8") if reason.exists() else None


def measured(source: Source, to: str, path: Path) -> dict[str, Any]:
    """The error of a file, and its time beside PyTorch's."""
    if to == "coreml":
        return {"converted": True}
    network = source.network.eval()
    x = torch.rand(1, source.channels, *source.input_size)
    with torch.no_grad():
        wanted = network.double()(x.double())
        network.float()
        try:
            run = load_exported(path, threads=1)
            found = run(x)
            if isinstance(network, Boxes) and to == "litert":
                found[:, :4] *= SIDE  # ultralytics writes parts of the picture there, not pixels
        except Exception as failure:  # every runtime has its own
            return {"holds": False, "reason": f"{type(failure).__name__}: {failure}"[:300]}
        error = float((found.double() - wanted).abs().max() / wanted.abs().max())
        row = {"error": error, "holds": error <= 1e-5}
        return row | {"ms": median(run, x), "torch_ms": median(network, x)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, choices=list(FILES))
    parser.add_argument("--out", type=Path, help="JSON file, kept up to date")
    parser.add_argument("--work", type=Path, help="folder of the exported files, kept")
    parser.add_argument("--convert", action="store_true", help="only write the files")
    parser.add_argument("--only", default="", help="networks with this in their names")
    words = parser.parse_args()
    if (words.out is None) != words.convert:
        parser.error("give either --out or --convert")
    torch.set_num_threads(1)
    content: dict[str, Any] = {"rows": []}
    if words.out and words.out.exists():
        content = json.loads(words.out.read_text(encoding="utf-8"))
    versions = {"torch": torch.__version__}
    for name in FILES[words.to][1]:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            parser.error(f"{name} is not installed")
    work = words.work or Path(tempfile.mkdtemp(prefix="rfaconv-mobile-"))
    work.mkdir(parents=True, exist_ok=True)
    for index, entry in enumerate(NETWORKS):
        if words.only not in entry.name:
            continue
        torch.manual_seed(0)  # the same weights when they are converted and when they are timed
        source = entry.make()
        path = work.resolve() / f"{index}{FILES[words.to][0]}"
        reason = converted(entry, source, words.to, path)
        if words.convert:
            print(entry.name, reason or "written", flush=True)
            continue
        found = {"holds": False, "reason": reason} if reason else measured(source, words.to, path)
        row = {"target": words.to, "network": entry.name, **found}
        row |= {"versions": versions, "processor": processor()}
        print(row, flush=True)
        rows = {(r["target"], r["network"]): r for r in content["rows"]}
        content["rows"] = list((rows | {(row["target"], row["network"]): row}).values())
        write_atomic(words.out, strict_json(content))


if __name__ == "__main__":
    main()
