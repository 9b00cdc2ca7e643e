"""Detectors and segmenters as files: the same boxes and the same masks as in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.networks.detectors import build_detector
from rfaconv.lab.networks.segmenters import build_segmenter
from rfaconv.lab.predict import load_predictor, save_predictor
from rfaconv.lab.predictors import open_predictor
from rfaconv.lab.sources import load_source

NAMES = ("cell", "dot", "rod")
SIZES = ((64, 64), (96, 61), (50, 180))


def images() -> list[torch.Tensor]:
    """Of several sizes, smooth enough that an image resized is still one."""
    made = []
    for index, (high, wide) in enumerate(SIZES):
        coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(index))
        fine = nn.functional.interpolate(coarse, (high, wide), mode="bicubic").clamp(0, 1)
        made.append((255 * fine[0]).to(torch.uint8))
    return made


def saved_detector(path: Path, kind: str) -> None:
    torch.manual_seed(0)
    settings = {"size": 64, "channels": 64, "width": 0.25}
    network: Any = build_detector(kind, "rfa_resnet18", len(NAMES), **settings)
    if kind != "fasterrcnn":
        # or all scores are about the same
        logits = network.head.classification_head.cls_logits
        nn.init.normal_(logits.weight, std=0.05)
        nn.init.constant_(logits.bias, -4.0)
    if kind == "retinanet":  # whose heads have no norm
        for module in network.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    save_predictor(path, network, task="detect", kind=kind, backbone="rfa_resnet18", names=NAMES,
                   **settings)  # fmt: skip


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
@pytest.mark.parametrize("fixed", [False, True])
def test_boxes_of_a_file(kind: str, fixed: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    saved_detector(tmp_path / "net.safetensors", kind)
    file = tmp_path / "net.onnx"
    words = ["export", str(tmp_path / "net.safetensors"), "--out", str(file), "--check",
             "--exporter", "legacy"]  # fmt: skip
    assert main([*words, "--fixed"] if fixed else words) == 0
    assert json.loads(Path(f"{file}.check.json").read_text(encoding="utf-8"))["passed"]
    ours = load_predictor(tmp_path / "net.safetensors", threshold=0)
    theirs = open_predictor(file, threshold=0)
    assert (theirs.task, theirs.names) == ("detect", NAMES)
    counts = []
    # a fixed file sees a whole image in its square: another size unless it is one
    for image in images()[: 1 if fixed else None]:
        expected, found = ours.find(image).boxes, theirs.find(image).boxes
        # torchvision counts the background among its boxes, this choice does not
        assert len(found) >= len(expected)
        found = found[: len(expected)]
        assert [name for name, *_ in found] == [name for name, *_ in expected]
        assert torch.allclose(
            torch.tensor([score for _, score, _ in found]),
            torch.tensor([score for _, score, _ in expected]),
            atol=1e-5,
        )
        corners = [torch.tensor([box for *_, box in rows]) for rows in (found, expected)]
        assert torch.allclose(*corners, atol=1e-2)
        counts.append(len(expected))
    assert min(counts) >= 3


def test_two_stages_are_refused(tmp_path: Path) -> None:
    saved_detector(tmp_path / "net.safetensors", "fasterrcnn")
    with pytest.raises(InvalidArgument, match="a detector of one stage"):
        load_source(tmp_path / "net.safetensors")


@pytest.mark.parametrize("size", [None, (64, 96), (60, 90)])
def test_masks_of_a_file(size: tuple[int, int] | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = build_segmenter("unet", "rfa_resnet18", len(NAMES), width=0.25)
    settings = {} if size is None else {"image_size": size}
    save_predictor(tmp_path / "net.safetensors", network, task="segment", kind="unet",
                   backbone="rfa_resnet18", names=NAMES, width=0.25, **settings)  # fmt: skip
    file = tmp_path / "net.onnx"
    words = ["export", str(tmp_path / "net.safetensors"), "--out", str(file)]
    assert main([*words, "--exporter", "legacy"]) == 0
    ours, theirs = load_predictor(tmp_path / "net.safetensors"), open_predictor(file)
    assert (theirs.task, theirs.names) == ("segment", NAMES)
    for image in images():
        expected, found = ours.find(image).mask, theirs.find(image).mask
        assert found.shape == expected.shape
        assert len(expected.unique()) > 1
        assert float((found != expected).float().mean()) < 1e-3  # of pixels between two classes
