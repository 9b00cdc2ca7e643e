"""Times OpenVINO with our kernels beside its own operations, and beside the plain network.

A call measures one batch and keeps what the file has of others of the same processor.

    python benchmarks/openvino_kernels.py --batch 1 \
        --out benchmarks/results/export-openvino-kernels.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from openvino_precision import about, compiled

from rfaconv.bench.timing import in_turns
from rfaconv.export import export
from rfaconv.export.custom import compile_openvino, export_onnx_custom
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source

OPERATORS = ("rfa", "rfcbam", "rfca")


def request(model: Any, x: Any) -> Callable[[], Any]:
    run = model.create_infer_request()
    return lambda: run.infer([x])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    words = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(words.threads)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(words, Path(folder))
    value = about(words.threads)
    batches = {}
    if words.out.exists():
        before = json.loads(words.out.read_text(encoding="utf-8"))
        batches = before.pop("batches") if before.items() >= value.items() else {}
    batches |= {str(words.batch): measured}
    write_atomic(words.out, strict_json({**value, "batches": dict(sorted(batches.items()))}))


def measure(words: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Milliseconds by alternating rounds, and the errors of our kernels."""
    batch = words.batch
    x = torch.randn(batch, 3, 224, 224)
    runs, errors = {}, {}
    for name in ("resnet18", *(f"{operator}_resnet18" for operator in OPERATORS)):
        source = load_source(name)
        path = folder / f"{name}.xml"
        export(source, path, "openvino", dynamic=False, batch=batch)
        runs[name] = request(compiled(path, words.threads, "f32"), x.numpy())
        if name == "resnet18":
            continue
        whole = folder / f"{name}.onnx"
        export_onnx_custom(source.network.eval(), x, whole)
        ours = compile_openvino(whole, threads=words.threads)
        runs[f"{name}, our kernels"] = request(ours, x.numpy())
        with torch.no_grad():
            wanted = source.network(x)
        gap = torch.from_numpy(ours([x.numpy()])[0].copy()) - wanted
        errors[name] = float(gap.abs().max() / wanted.abs().max())
    print("timing", flush=True)
    times = in_turns(runs, words.rounds)
    medians = {name: 1e3 * sorted(values)[words.rounds // 2] for name, values in times.items()}
    return {"ms": medians, "errors": errors, "rounds": words.rounds}


if __name__ == "__main__":
    main()
