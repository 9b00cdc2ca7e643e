"""The life of a YOLO with an operator, by ultralytics' own commands: train, break off, resume,
validate, fuse, export to ONNX and OpenVINO, and compare what the exported networks compute.

Needs the extras ultralytics and export, and a Pascal VOC folder or zip, such as BCCD:

    python examples/yolo_lifecycle.py bccd-voc.zip --networks yolov8n,yolo11n --operator rfa
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zipfile
from pathlib import Path

os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import numpy as np
import torch

import rfaconv
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.data.voc import read_voc

SETTINGS = {
    "device": "cpu",
    "workers": 0,
    "plots": False,
    "amp": False,
    "exist_ok": True,
    "verbose": False,
    "seed": 0,
}
TRAINING = {
    "batch": 8,
    "nbs": 8,  # a step of the optimizer for every batch
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0.0,
    "mosaic": 0.0,
}


class Interruption(Exception):
    """Stands for a machine that goes down in the middle of a training."""


def voc_folder(source: Path, scratch: Path) -> Path:
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            archive.extractall(scratch / "voc")
        source = scratch / "voc"
    return next(
        p.parent for p in [source / "Annotations", *source.rglob("Annotations")] if p.is_dir()
    )


def dataset(source: Path, scratch: Path, limit: int | None = None) -> Path:
    from rfaconv.lab.data.boxes import DetectionSet
    from rfaconv.lab.data.yolo.writing import write_dataset

    root = voc_folder(source, scratch)
    train = read_voc(root, "train")
    sets = {"train": train}
    for split in ("val", "test"):
        sets[split] = read_voc(root, split, train.classes)
    if limit:
        sets = {k: DetectionSet(s.samples[:limit], s.classes) for k, s in sets.items()}
    return write_dataset(sets, scratch / "yolo")


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    error = np.abs(ours - theirs)
    return {
        "largest": float(error.max()),
        "relative": float((error / np.maximum(1.0, np.abs(ours))).max()),
    }


def live(network: str, operator: str, data: Path, scratch: Path, epochs: int, size: int) -> dict:
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import get_flops

    start = time.perf_counter()
    result: dict = {"network": network, "operator": operator, "epochs": epochs, "imgsz": size}
    yolo = YOLO(f"{network}-{operator}.yaml")
    result["parameters"] = sum(p.numel() for p in yolo.model.parameters())
    result["gflops_640"] = get_flops(yolo.model)

    def break_off(trainer) -> None:
        if trainer.epoch == 1:
            raise Interruption

    yolo.add_callback("on_train_epoch_start", break_off)
    common = {"data": str(data), "imgsz": size, **SETTINGS}
    run = scratch / f"{network}-{operator}"
    try:
        yolo.train(epochs=epochs, project=str(run), name="train", **TRAINING, **common)
    except Interruption:
        result["interrupted_after_epoch"] = 1
    last = run / "train" / "weights" / "last.pt"
    resumed = YOLO(last)
    resumed.train(resume=True)
    result["epochs_trained"] = (
        len((run / "train" / "results.csv").read_text(encoding="utf-8").splitlines()) - 1
    )
    best = YOLO(run / "train" / "weights" / "best.pt")
    metrics = best.val(project=str(run), name="val", batch=16, **common)
    result["map50"], result["map"] = float(metrics.box.map50), float(metrics.box.map)

    best = YOLO(run / "train" / "weights" / "best.pt")
    model = best.model.float().eval()
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(x)[0].numpy()
        fused = YOLO(run / "train" / "weights" / "best.pt")
        fused.fuse()
        norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in fused.model.modules())
        result["batch_norms_after_fuse"] = norms
        result["fuse"] = difference(plain, fused.model.float().eval()(x)[0].numpy())
    result["onnx"] = difference(plain, run_onnx(best, x, size))
    result["openvino"] = difference(plain, run_openvino(best, x, size))
    result["seconds"] = time.perf_counter() - start
    return result


def run_onnx(yolo, x: torch.Tensor, size: int) -> np.ndarray:
    import onnxruntime

    path = yolo.export(format="onnx", imgsz=size, simplify=False, dynamic=True, device="cpu")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def run_openvino(yolo, x: torch.Tensor, size: int) -> np.ndarray:
    import openvino

    folder = Path(yolo.export(format="openvino", imgsz=size, device="cpu"))
    model = openvino.Core().compile_model(
        next(folder.glob("*.xml")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return next(iter(model(x.numpy()).values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", default="yolov8n,yolo11n")
    parser.add_argument("--operator", default="rfa")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--limit", type=int, default=None, help="pictures of each split")
    parser.add_argument("--out", type=Path, default=None, help="JSON file of the figures")
    words = parser.parse_args()
    rfaconv.register("ultralytics")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = dataset(words.data, scratch, words.limit)
        results = [
            live(network, words.operator, data, scratch, words.epochs, words.imgsz)
            for network in words.networks.split(",")
        ]
    text = strict_json({"torch": torch.__version__, "runs": results})
    if words.out:
        write_atomic(words.out, text)
    print(text)
    for run in results:
        worst = max(run[step]["relative"] for step in ("fuse", "onnx", "openvino"))
        if worst > 1e-3:
            raise SystemExit(f"{run['network']}: outputs differ by {worst}")


if __name__ == "__main__":
    main()
