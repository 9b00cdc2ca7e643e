"""Accuracy, size and speed of a trained network in int8, in ONNX Runtime and OpenVINO.

python benchmarks/quantized.py FOLDER RUN... --out benchmarks/results/export-int8.json
python benchmarks/quantized.py FOLDER RUN... --step speed --out benchmarks/results/export-int8.json

RUNs are folders of ``rfaconv train`` on EuroSAT; nothing is trained here. Files go to FOLDER.
Ranges come from training pictures; accuracy is that on the validation and on the test pictures.
A step adds its part to what the results already hold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rfaconv.bench.environment import describe
from rfaconv.bench.timing import alternate
from rfaconv.export import export, load_exported
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source
from rfaconv.lab.building import read_run, recipe_data
from rfaconv.lab.calibration import IMAGES
from rfaconv.lab.data import Normalize

SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
KINDS = ("float32", "int8")
PARTS = ("val", "test")


def make(run: Path, folder: Path) -> dict[str, int]:
    """Writes the four files; their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    source, data = load_source(run), recipe_data(read_run(run))
    picked = torch.linspace(0, len(data.train) - 1, IMAGES).round().long().tolist()
    pictures = list(Normalize(data.mean, data.std)(data.train.__getitems__(picked)[0]).split(1))
    sizes = {}
    for target, suffix in SUFFIX.items():
        for kind in KINDS:
            path = folder / f"{kind}{suffix}"
            print(path, flush=True)
            given = pictures if kind == "int8" else []
            made = export(source, path, target, dtype=kind, calibration=given, force=True)
            sizes[f"{target} {kind}"] = made.bytes
    return sizes


def answers(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([function(part) for part in images.split(50)]).argmax(1)


def judge(run: Path, folder: Path, threads: int) -> dict:
    recipe = read_run(run)
    parts = {}
    for part in PARTS:
        data = recipe_data(
            recipe.model_copy(update={"data": recipe.data.model_copy(update={"part": part})})
        )
        images, labels = data.val.__getitems__(list(range(len(data.val))))[:2]
        parts[part] = Normalize(data.mean, data.std)(images), labels
    network = load_source(run).network.eval()

    @torch.no_grad()
    def plain(x: Tensor) -> Tensor:
        return network(x)

    functions = {"PyTorch": plain}
    for target, suffix in SUFFIX.items():
        for kind in KINDS:
            functions[f"{target} {kind}"] = load_exported(
                folder / f"{kind}{suffix}", threads=threads
            )
    found: dict = {name: {} for name in functions}
    for part, (images, labels) in parts.items():
        expected = answers(plain, images)
        for name, function in functions.items():
            given = expected if function is plain else answers(function, images)
            found[name][part] = {
                "images": len(labels),
                "right": int((given == labels).sum()),
                "as PyTorch": int((given == expected).sum()),
            }
    return found


def speed(folder: Path, size: int, threads: int, seconds: float) -> dict:
    found = {}
    for target, suffix in SUFFIX.items():
        for batch in (1, 8):
            x = torch.randn(batch, 3, size, size)
            runs = {k: load_exported(folder / f"{k}{suffix}", threads=threads) for k in KINDS}
            sides = {k: (lambda r=r, x=x: r(x)) for k, r in runs.items()}
            timing = alternate(sides, "float32", seconds=seconds, sample_ms=100)
            found[f"{target} {batch}"] = {
                **{f"{k} ms": round(t.milliseconds.median, 2) for k, t in timing.items()},
                "ratio": round(timing["int8"].ratio.median, 3),
            }
    return found


def one(run: Path, folder: Path, steps: Sequence[str], given: argparse.Namespace) -> dict:
    recipe, result = read_run(run), {}
    if "make" in steps:
        sizes = make(run, folder)
        result["bytes"] = sizes
        result["share"] = {t: round(sizes[f"{t} int8"] / sizes[f"{t} float32"], 4) for t in SUFFIX}
    if "judge" in steps:
        accuracy = judge(run, folder, given.threads)
        result["accuracy"] = accuracy
        result["drop in points"] = {
            f"{target} {part}": drop(*(accuracy[f"{target} {kind}"][part] for kind in KINDS))
            for target in SUFFIX
            for part in PARTS
        }
    size = load_source(run).input_size[0]
    if "speed" in steps:
        result["speed"] = speed(folder, size, given.threads, given.seconds)
    about = recipe.model_dump(mode="json", include={"model", "epochs", "batch_size"})
    return result | {"recipe": about, "limit": recipe.data.limit, "size": size}


def drop(plain: dict, other: dict) -> float:
    return round(100 * (plain["right"] - other["right"]) / plain["images"], 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--step", choices=("make", "judge", "speed", "all"), default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    steps = ("make", "judge", "speed") if given.step == "all" else (given.step,)
    old = given.out is not None and given.out.is_file()
    result = json.loads(given.out.read_text(encoding="utf-8")) if old else {"networks": {}}
    for run in given.runs:
        model = read_run(run).model
        name = f"{model.operator} {model.name}"
        found = one(run, given.folder / name.replace(" ", "-"), steps, given)
        result["networks"][name] = result["networks"].get(name, {}) | found
    result |= {"threads": given.threads, "calibration": IMAGES, "environment": describe()}
    text = strict_json(result)
    print(text) if given.out is None else write_atomic(given.out, text)


if __name__ == "__main__":
    main()
