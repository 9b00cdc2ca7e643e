"""Trains YOLOv8n with every operator on blood cells (BCCD) from scratch and writes what came out.

One JSON file per training, written at once when it is done; a training whose file is there is not
run again, so the script goes on where it was stopped. Every training has the same schedule and is
judged once, after its last epoch, on the validation and test pictures together.

    python benchmarks/yolo_bccd.py bccd-voc.zip --seeds 3 --out benchmarks/results/yolov8n-bccd
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("YOLO_AUTOINSTALL", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import torch
from yolo_lifecycle import voc_folder

import rfaconv
from rfaconv.detection import DetectionSet, read_voc
from rfaconv.integrations.ultralytics.dataset import write_dataset
from rfaconv.training.files import strict_json, write_atomic

OPERATORS = ("conv", "rfa", "rfcbam", "rfca", "ca", "cbam", "cam")
SCHEDULE = {
    "batch": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.05,
    "warmup_epochs": 1,
    "mosaic": 0.0,
    "val": False,
    "device": "cpu",
    "workers": 0,
    "cache": "ram",
    "plots": False,
    "amp": False,
    "exist_ok": True,
    "verbose": False,
}


def dataset(source: Path, scratch: Path) -> Path:
    root = voc_folder(source, scratch)
    train = read_voc(root, "train")
    held = [read_voc(root, split, train.classes) for split in ("val", "test")]
    both = DetectionSet([s for part in held for s in part.samples], train.classes)
    return write_dataset({"train": train, "val": both}, scratch / "yolo")


def train(name: str, operator: str, seed: int, data: Path, scratch: Path, words) -> dict:
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import get_flops

    yolo = YOLO(f"{name}.yaml" if operator == "conv" else f"{name}-{operator}.yaml")
    result = {
        "network": name,
        "operator": operator,
        "seed": seed,
        "epochs": words.epochs,
        "imgsz": words.imgsz,
        "schedule": {k: v for k, v in SCHEDULE.items() if isinstance(v, int | float | str)},
        "torch": torch.__version__,
        "gflops_640": get_flops(yolo.model),
    }
    run = scratch / f"{operator}-{seed}"
    start = time.perf_counter()
    yolo.train(
        data=str(data), epochs=words.epochs, imgsz=words.imgsz, seed=seed, project=str(run),
        name="train", **SCHEDULE,
    )  # fmt: skip
    result["train_seconds"] = time.perf_counter() - start
    last = YOLO(run / "train" / "weights" / "last.pt")
    result["parameters"] = sum(p.numel() for p in last.model.parameters())
    metrics = last.val(
        data=str(data), imgsz=words.imgsz, batch=16, device="cpu", workers=0, plots=False,
        project=str(run), name="val", verbose=False,
    )  # fmt: skip
    result["map50"], result["map"] = float(metrics.box.map50), float(metrics.box.map)
    result["map_per_class"] = [float(v) for v in metrics.box.maps]
    if words.keep:
        words.keep.mkdir(parents=True, exist_ok=True)
        (run / "train" / "weights" / "last.pt").replace(words.keep / f"{operator}-{seed}.pt")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--network", default="yolov8n")
    parser.add_argument("--operators", default=",".join(OPERATORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained weights")
    words = parser.parse_args()
    rfaconv.register("ultralytics")
    words.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        data = dataset(words.data, Path(name))
        for seed in range(words.seeds):
            for operator in words.operators.split(","):
                target = words.out / f"{operator}-{seed}.json"
                if target.exists():
                    continue
                result = train(words.network, operator, seed, data, Path(name), words)
                write_atomic(target, strict_json(result))
                print(operator, seed, result["map50"], result["map"], result["train_seconds"])


if __name__ == "__main__":
    main()
