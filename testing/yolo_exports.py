"""Small YOLOs trained for a moment, exported by ultralytics, run, and compared with PyTorch."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

NETWORKS = ("yolov5n", "yolov8n", "yolo11n", "yolo26n")
# format of ours: module of the package that ultralytics needs for it, versions to be recorded
FORMATS = {
    "onnx": ("onnxruntime",),
    "onnx-dynamic": ("onnxruntime",),
    "openvino": ("openvino",),
    "torchscript": ("torch",),
    "ncnn": ("ncnn", "pnnx"),
    "mnn": ("MNN",),
    "litert": ("litert_torch", "ai_edge_litert"),
    "executorch": ("executorch",),
}
TRAINED_AT, SIZE, OTHER = 32, (64, 96), (96, 64)
# of a box's pixels and of scores; relative to what is larger than 1
RELATIVE, ABSOLUTE = 1e-3, 2e-3


def missing(kind: str) -> str:
    """The packages of a format that are not installed, or ''."""
    found = [name for name in FORMATS[kind] if importlib.util.find_spec(name) is None]
    return ", ".join(found)


def pictures(root: Path) -> Path:
    """Six pictures of noise with two boxes each; returns data.yaml."""
    if not root.exists():
        generator = np.random.default_rng(0)
        for kind in ("images", "labels"):
            (root / kind).mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{i}.png")
            label = "0 0.5 0.5 0.4 0.4\n1 0.2 0.2 0.2 0.3\n"
            (root / "labels" / f"{i}.txt").write_text(label, encoding="utf-8")
        text = "train: images\nval: images\nnames: {0: a, 1: b}\n"
        (root / "data.yaml").write_text(text, encoding="utf-8")
    return root / "data.yaml"


def trained(network: str, operator: str, folder: Path) -> Path:
    """A checkpoint after an epoch of three steps, so that its weights and norms have moved."""
    from ultralytics import YOLO

    name = f"{network}-{operator}"
    if found := next((folder / name).rglob("last.pt"), None):
        return found
    YOLO(f"{name}.yaml").train(
        data=str(pictures(folder / "set")), imgsz=TRAINED_AT, epochs=1, batch=2, nbs=2,
        device="cpu", workers=0, plots=False, val=False, amp=False, verbose=False, optimizer="SGD",
        lr0=0.01, warmup_epochs=0, project=str(folder), name=name,
    )  # fmt: skip
    return next((folder / name).rglob("last.pt"))


def exported(path: Path, kind: str) -> Callable[[torch.Tensor], np.ndarray]:
    """Exports a checkpoint; returns a function that runs the file in its runtime."""
    from ultralytics import YOLO

    settings: dict[str, Any] = {"imgsz": list(SIZE), "device": "cpu"}
    if kind.startswith("onnx"):
        settings.update(simplify=False, dynamic=kind == "onnx-dynamic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters of torch warn that they are old
        file = YOLO(path).export(format=kind.partition("-")[0], **settings)
        if kind == "torchscript":
            module = torch.jit.load(file)
            return lambda x: module(x).numpy()
        if kind == "openvino":
            import openvino

            # its default is bfloat16 on processors that have it
            exact = {"INFERENCE_PRECISION_HINT": "f32"}
            xml = str(next(Path(file).glob("*.xml")))
            model = openvino.Core().compile_model(xml, "CPU", exact)
            return lambda x: next(iter(model(x.numpy()).values()))
        if kind.startswith("onnx"):
            import onnxruntime

            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            return lambda x: session.run(None, {name: x.numpy()})[0]
        from ultralytics.nn.autobackend import AutoBackend

        backend = AutoBackend(file, device=torch.device("cpu"))
        return lambda x: _first(backend(x))


def _first(out: Any) -> np.ndarray:
    while isinstance(out, list | tuple):
        out = out[0]
    return np.asarray(out)


def expected(path: Path, x: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's output, of the head that the exported network has."""
    from ultralytics import YOLO

    model: Any = YOLO(path).model.float().eval()
    with torch.no_grad():
        out = model(x)[0].numpy()
        if out.shape != shape:  # formats without top-k have the head before it
            model.end2end = False
            out = model(x)[0].numpy()
    return out


def error(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """The largest absolute difference, and the largest one in units of what is allowed.

    Rows of a network that sorts its boxes by score (1, boxes, 6) are compared as a set: where two
    scores are equal but for rounding, their rows may change places.
    """
    if found.shape != wanted.shape:
        raise AssertionError(f"shape {found.shape} instead of {wanted.shape}")
    if not np.isfinite(found).all():
        raise AssertionError("not finite")
    if found.shape[-1] != 6:
        gap = np.abs(found - wanted)
        return float(gap.max()), float((gap / (ABSOLUTE + RELATIVE * np.abs(wanted))).max())
    worst = (0.0, 0.0)
    for ours, theirs in ((found[0], wanted[0]), (wanted[0], found[0])):
        gap = np.abs(ours[:, None] - theirs[None])
        units = (gap / (ABSOLUTE + RELATIVE * np.abs(theirs)[None])).max(-1)
        nearest = units.argmin(1)
        rows = np.arange(len(ours))
        # the last rows may be others: their scores are equal but for rounding to those left out
        sure = ours[:, 4] > ours[:, 4].min() + ABSOLUTE
        if sure.any():
            absolute = gap[rows, nearest].max(-1)[sure].max()
            worst = max(worst, (float(absolute), float(units[rows, nearest][sure].max())))
    return worst


def compare(network: str, operator: str, kind: str, folder: Path) -> tuple[float, float]:
    """Exports and runs; returns :func:`error`, the larger of two sizes where they are free."""
    path = trained(network, operator, folder)
    run = exported(path, kind)
    worst = (0.0, 0.0)
    for size in [SIZE, OTHER] if kind == "onnx-dynamic" else [SIZE]:
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(size[0]))
        found = run(x)
        worst = max(worst, error(found, expected(path, x, found.shape)))
    return worst
