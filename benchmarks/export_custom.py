"""Times networks with an operator in ONNX Runtime, as custom operators, against the plain network.

Both run in ONNX Runtime with the same threads, in turn, so that a slow minute meets both.

    python benchmarks/export_custom.py --out benchmarks/results/export-onnxruntime-custom.json
    python benchmarks/export_custom.py --definitions \
        --out benchmarks/results/export-onnxruntime-definitions.json
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch

import rfaconv.models  # noqa: F401  (registers the networks)
from rfaconv.bench.environment import describe
from rfaconv.bench.timing import alternate
from rfaconv.export.custom import export_onnx_custom, session
from rfaconv.files import strict_json, write_atomic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--operators", default="rfa,rfcbam,rfca")
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="per batch")
    parser.add_argument("--definitions", action="store_true", help="without the library")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.manual_seed(0)
    names = [words.network, *(f"{o}_{words.network}" for o in words.operators.split(",") if o)]
    result: dict[str, Any] = {
        "network": words.network,
        "imgsz": words.imgsz,
        "threads": words.threads,
        "dtype": "float32",
        "library": not words.definitions,
        "environment": describe(),
        "onnx": version("onnx"),
        "batches": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        sessions, differences = open_sessions(names, Path(folder), words)
        for batch in map(int, words.batches.split(",")):
            x = np.random.default_rng(0).random((batch, 3, words.imgsz, words.imgsz), np.float32)
            sides = {k: partial(s.run, None, {"x": x}) for k, s in sessions.items()}
            times = alternate(sides, words.network, seconds=words.seconds)
            result["batches"][str(batch)] = {k: dataclasses.asdict(t) for k, t in times.items()}
            for name, timing in times.items():
                ms, ratio = timing.milliseconds.median, timing.ratio.median
                print(f"batch {batch}  {name:18} {ms:8.2f} ms  {ratio:5.2f}", flush=True)
    result["largest difference to PyTorch, relative"] = differences
    if words.out is not None:
        write_atomic(words.out, strict_json(result))


def open_sessions(
    names: list[str], folder: Path, words: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float]]:
    sessions, differences = {}, {}
    x = torch.rand(1, 3, words.imgsz, words.imgsz)
    for name in names:
        model = timm.create_model(name).eval()
        path = folder / f"{name}.onnx"
        options = onnxruntime.SessionOptions()
        # else the threads of the one spin while the other is timed
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if name == names[0]:
            export_plain(model, x, path)
        else:
            export_onnx_custom(model, x, path)
        if name == names[0] or words.definitions:
            options.intra_op_num_threads = words.threads
            opened = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        else:
            opened = session(path, threads=words.threads, options=options)
        with torch.inference_mode():
            expected = model(x).numpy()
        got = opened.run(None, {"x": x.numpy()})[0]
        differences[name] = float(np.abs(got - expected).max() / np.abs(expected).max())
        sessions[name] = opened
    return sessions, differences


def export_plain(model: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    auto = torch.export.Dim.AUTO
    torch.onnx.export(
        model, (x.repeat(2, 1, 1, 1),), str(path), dynamo=True, verbose=False, opset_version=18,
        input_names=["x"], dynamic_shapes=({0: auto, 2: auto, 3: auto},),
    )  # fmt: skip


if __name__ == "__main__":
    main()
