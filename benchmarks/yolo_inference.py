"""Times YOLOv8n with every operator against the plain one, fused, in PyTorch on the CPU.

The networks run in turn, so that a slow minute of the machine meets all of them.

    python benchmarks/yolo_inference.py --out benchmarks/results/yolov8n-inference-640.json
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path

import torch

import rfaconv
from rfaconv.bench.environment import describe
from rfaconv.bench.timing import in_turns
from rfaconv.files import strict_json, write_atomic
from rfaconv.integrations.ultralytics import model_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="yolov8n")
    parser.add_argument("--operators", default="conv,rfa,rfcbam,rfca,cam,cbam,ca")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    rfaconv.register("ultralytics")
    from ultralytics.nn.tasks import DetectionModel

    networks = {}
    for operator in words.operators.split(","):
        config = model_config(words.network, None if operator == "conv" else operator)
        networks[operator] = DetectionModel(config, verbose=False).eval().fuse(verbose=False)
    x = torch.rand(1, 3, words.imgsz, words.imgsz)
    with torch.inference_mode():
        runs = {operator: partial(network, x) for operator, network in networks.items()}
        times = in_turns(runs, words.rounds, warmup=2)
    medians = {operator: statistics.median(values) for operator, values in times.items()}
    plain = medians.get("conv")
    result = {
        "network": words.network,
        "imgsz": words.imgsz,
        "batch": 1,
        "threads": words.threads,
        "rounds": words.rounds,
        "environment": describe(),
        "median_seconds": medians,
        "ratio": {o: m / plain for o, m in medians.items()} if plain else {},
        "seconds": times,
    }
    write_atomic(words.out, strict_json(result))
    for operator, median in medians.items():
        print(f"{operator:7} {1e3 * median:8.1f} ms  {median / plain:.3f}")


if __name__ == "__main__":
    main()
