"""Every operator through ultralytics' exporter: the exported network computes what PyTorch does."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from rfaconv.variants import OPERATORS

NETWORKS = ("yolov5n", "yolov8n", "yolo11n", "yolo26n")
FORMATS = ("onnx", "onnx-dynamic", "openvino", "torchscript")
TRAINED_AT, SIZE, OTHER = 32, (64, 96), (96, 64)


@functools.cache
def _folder():
    import tempfile

    return Path(tempfile.mkdtemp(prefix="rfaconv-export-"))


@functools.cache
def trained(network, operator):
    """A checkpoint after an epoch on six pictures, so that its weights and norms have moved."""
    from PIL import Image
    from ultralytics import YOLO

    root = _folder() / "set"
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
    yolo = YOLO(f"{network}-{operator}.yaml")
    yolo.train(
        data=str(root / "data.yaml"), imgsz=TRAINED_AT, epochs=1, batch=2, nbs=2, device="cpu",
        workers=0, plots=False, val=False, amp=False, verbose=False, optimizer="SGD", lr0=0.01,
        warmup_epochs=0, project=str(_folder()), name=f"{network}-{operator}",
    )  # fmt: skip
    return next((_folder() / f"{network}-{operator}").rglob("last.pt"))


def exported(path, kind):
    """The exported file, and a function that runs it."""
    from ultralytics import YOLO

    settings = {"imgsz": list(SIZE), "device": "cpu"}
    if kind.startswith("onnx"):
        settings.update(simplify=False, dynamic=kind == "onnx-dynamic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters of torch warn that they are old
        file = YOLO(path).export(format=kind.partition("-")[0], **settings)
    if kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(file)
        return lambda x: module(x).numpy()
    if kind == "openvino":
        import openvino

        core = openvino.Core()
        model = core.compile_model(
            str(next(Path(file).glob("*.xml"))), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda x: next(iter(model(x.numpy()).values()))
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def compare(network, operator, kind):
    from ultralytics import YOLO

    path = trained(network, operator)
    run = exported(path, kind)
    model = YOLO(path).model.float().eval()
    sizes = [SIZE, OTHER] if kind == "onnx-dynamic" else [SIZE]
    for size in sizes:
        x = torch.rand(1, 3, *size)
        with torch.no_grad():
            expected = model(x)[0].numpy()
        found = run(x)
        if network == "yolo26n":  # boxes sorted by their scores: equal scores may change places
            expected, found = (np.sort(v, 1) for v in (expected, found))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("operator", ["rfa"])
def test_export_of_a_trained_network(operator):
    compare("yolov8n", operator, "onnx-dynamic")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_matrix(network, operator, kind):
    compare(network, operator, kind)
