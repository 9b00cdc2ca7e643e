"""Trains YOLOv8n with every operator on blood cells (BCCD) and writes what came out.

One JSON file per training, written at once when it is done; a training whose file is there is not
run again, so the script goes on where it was stopped. Every training has the same schedule and is
judged once, after its last epoch, on the validation and test pictures together. With ``--warm`` the
trained plain network of each seed is trained on, once as it is and once converted with
``init="preserve"``; for that, run the plain ones with ``--keep`` before.

The study of how the operators learn, long enough to converge, three seeds each, paired (about three
hours on two processors; the figures in docs/detection.md are of shorter trainings):

    python benchmarks/yolo_bccd.py bccd-voc.zip --operators conv,rfa,rfcbam,rfca --epochs 100 --out
    benchmarks/results/yolov8n-bccd-100
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("YOLO_AUTOINSTALL", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import torch
import torch.nn.functional as F
from yolo_lifecycle import voc_folder

import rfaconv
from rfaconv.files import strict_json, write_atomic
from rfaconv.integrations.ultralytics import convert
from rfaconv.lab.data.boxes import DetectionSet
from rfaconv.lab.data.voc import read_voc
from rfaconv.lab.data.yolo.writing import write_dataset

OPERATORS = ("conv", "rfa", "rfcbam", "rfca", "ca", "cbam", "cam")
SCHEDULE = {
    "batch": 8,
    # ultralytics gathers gradients up to a nominal batch of 64: with batch 8 one step in eight
    "nbs": 8,
    "warmup_bias_lr": 0.0,
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


def dataset(source: Path, scratch: Path) -> tuple[DetectionSet, Path]:
    root = voc_folder(source, scratch)
    train = read_voc(root, "train")
    held = [read_voc(root, split, train.classes) for split in ("val", "test")]
    both = DetectionSet([s for part in held for s in part.samples], train.classes)
    return train, write_dataset({"train": train, "val": both}, scratch / "yolo")


def calibration(pictures: DetectionSet, size: int) -> torch.Tensor:
    """Some training pictures as ultralytics makes them: scaled, and grey to a square."""
    chosen = []
    for index in range(0, len(pictures), 4):
        image = pictures[index][0]
        scale = size / max(image.shape[1:])
        shape = [round(side * scale) for side in image.shape[1:]]
        small = F.interpolate(image[None], shape, mode="bilinear", antialias=True)
        above, left = (size - shape[0]) // 2, (size - shape[1]) // 2
        edges = (left, size - shape[1] - left, above, size - shape[0] - above)
        chosen.append(F.pad(small, edges, value=114 / 255))
    return torch.cat(chosen)


def network(operator: str, seed: int, pictures: DetectionSet, words):
    from ultralytics import YOLO

    if words.warm is None:
        name = words.network
        return YOLO(f"{name}.yaml" if operator == "conv" else f"{name}-{operator}.yaml")
    yolo = YOLO(words.warm / f"conv-{seed}.pt")
    if operator != "conv":
        yolo.model.float()
        report = convert(yolo, operator, "preserve", calibration(pictures, words.imgsz))
        print(report)
    return yolo


def count_steps(yolo) -> list[int]:
    """A list that gets the number of the epoch at every step of the optimizer."""
    steps: list[int] = []

    def watch(trainer) -> None:
        step = trainer.optimizer_step

        def counted() -> None:
            steps.append(trainer.epoch)
            step()

        trainer.optimizer_step = counted

    yolo.add_callback("on_train_start", watch)
    return steps


def train(operator: str, seed: int, pictures: DetectionSet, data: Path, scratch: Path, words):
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import get_flops

    yolo = network(operator, seed, pictures, words)
    # trained weights take smaller steps
    schedule = {**SCHEDULE, "lr0": 0.001} if words.warm else SCHEDULE
    result = {
        "network": words.network,
        "operator": operator,
        "seed": seed,
        "epochs": words.epochs,
        "imgsz": words.imgsz,
        "start": "preserve" if words.warm else "scratch",
        "schedule": {k: v for k, v in schedule.items() if isinstance(v, int | float | str)},
        "torch": torch.__version__,
        "ultralytics": version("ultralytics"),
        "gflops_640": get_flops(yolo.model),
    }
    run = scratch / f"{operator}-{seed}"
    steps = count_steps(yolo)
    start = time.perf_counter()
    yolo.train(
        data=str(data), epochs=words.epochs, imgsz=words.imgsz, seed=seed, project=str(run),
        name="train", **schedule,
    )  # fmt: skip
    result["train_seconds"] = time.perf_counter() - start
    result["optimizer_steps"] = len(steps)
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
    parser.add_argument("--warm", type=Path, default=None, help="the --keep of plain trainings")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained weights")
    words = parser.parse_args()
    rfaconv.register("ultralytics")
    words.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        pictures, data = dataset(words.data, Path(name))
        for seed in range(words.seeds):
            for operator in words.operators.split(","):
                target = words.out / f"{operator}-{seed}.json"
                if target.exists():
                    continue
                result = train(operator, seed, pictures, data, Path(name), words)
                write_atomic(target, strict_json(result))
                print(operator, seed, result["map50"], result["map"], result["train_seconds"])


if __name__ == "__main__":
    main()
