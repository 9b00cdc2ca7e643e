"""Measures what OpenVINO's own choice of precision costs in accuracy and gains in time.

Without a hint OpenVINO's CPU plugin computes in bfloat16 where the processor multiplies it, and in
float32 elsewhere. Alternating rounds, medians.

    python benchmarks/openvino_precision.py --out benchmarks/results/export-openvino-precision.json
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import openvino
import torch

from rfaconv.bench.timing import in_turns
from rfaconv.export import Source, export
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source
from rfaconv.variants import OPERATORS

ROOT = Path(__file__).resolve().parents[1]
HINT = "INFERENCE_PRECISION_HINT"


def compiled(path: Path, threads: int, hint: str | None) -> Any:
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if hint:
        settings[HINT] = hint
    return openvino.Core().compile_model(path, "CPU", settings)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    flags = next((x.split() for x in lines if x.startswith("flags")), [])
    known = ("avx512f", "avx512_bf16", "amx_bf16")
    has = [flag for flag in known if flag in flags] or [f for f in ("avx2",) if f in flags]
    return f"{name or platform.processor()} ({', '.join(has)})"


def about(threads: int) -> dict[str, Any]:
    versions = {"openvino": openvino.__version__, "torch": torch.__version__}
    return {"processor": processor(), "threads": threads, **versions}


def measured(source: Source, threads: int, rounds: int) -> dict[str, Any]:
    x = torch.randn(1, source.channels, *source.input_size)
    with torch.no_grad():
        wanted = source.network.eval().double()(x.double())
    source.network.float()
    with tempfile.TemporaryDirectory() as folder:
        path = export(source, Path(folder) / "x.xml", "openvino", dynamic=False, batch=1).path
        models = {
            "own choice": compiled(path, threads, None),
            "f32": compiled(path, threads, "f32"),
        }
        requests = {name: model.create_infer_request() for name, model in models.items()}
        row: dict[str, Any] = {"chosen": str(models["own choice"].get_property(HINT))}
        for name, request in requests.items():
            found = torch.from_numpy(request.infer([x.numpy()])[0].copy()).double()
            row[f"error {name}"] = float((found - wanted).abs().max() / wanted.abs().max())
        times = in_turns({k: partial(r.infer, [x.numpy()]) for k, r in requests.items()}, rounds)
        row |= {f"ms {name}": 1e3 * median(values) for name, values in times.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    words = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(words.threads)
    names = ["resnet18", *(f"{operator}_resnet18" for operator in OPERATORS)]
    rows = {name: measured(load_source(name), words.threads, words.rounds) for name in names}
    for kind in ("conv", "rfa"):
        source = load_source(str(ROOT / "weights" / f"eurosat-{kind}"))
        rows[f"eurosat-{kind}, trained"] = measured(source, words.threads, words.rounds)
    write_atomic(words.out, strict_json({**about(words.threads), "networks": rows}))


if __name__ == "__main__":
    main()
