"""Times OpenVINO with our kernels beside its own operations, and beside the plain network.

python benchmarks/openvino_kernels.py --out benchmarks/results/export-openvino-kernels.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import torch
from openvino_precision import compiled, processor

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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    words = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(words.threads)
    batches: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for batch in (1, 8):
            x = torch.randn(batch, 3, 224, 224)
            runs, errors = {}, {}
            for name in ("resnet18", *(f"{operator}_resnet18" for operator in OPERATORS)):
                source = load_source(name)
                path = Path(folder) / f"{name}-{batch}.xml"
                export(source, path, "openvino", dynamic=False, batch=batch)
                runs[name] = request(compiled(path, words.threads, "f32"), x.numpy())
                if name == "resnet18":
                    continue
                whole = Path(folder) / f"{name}-{batch}.onnx"
                export_onnx_custom(source.network.eval(), x, whole)
                ours = compile_openvino(whole, threads=words.threads)
                runs[f"{name}, our kernels"] = request(ours, x.numpy())
                with torch.no_grad():
                    wanted = source.network(x)
                gap = torch.from_numpy(ours([x.numpy()])[0].copy()) - wanted
                errors[name] = float(gap.abs().max() / wanted.abs().max())
            times: dict[str, list[float]] = {name: [] for name in runs}
            for run in runs.values():
                run()
            for _ in range(words.rounds):
                for name, run in runs.items():
                    begin = time.perf_counter()
                    run()
                    times[name].append(1e3 * (time.perf_counter() - begin))
            medians = {name: sorted(values)[words.rounds // 2] for name, values in times.items()}
            batches[str(batch)] = {"ms": medians, "errors": errors}
    value = {
        "processor": processor(),
        "threads": words.threads,
        "openvino": openvino.__version__,
        "torch": torch.__version__,
        "batches": batches,
    }
    write_atomic(words.out, strict_json(value))


if __name__ == "__main__":
    main()
