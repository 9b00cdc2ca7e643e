"""``rfaconv predict`` of networks that have learned something, for all tasks of ultralytics."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image
from testing.yolo_shapes import CLASSES, TASKS, dataset, picture

from rfaconv.cli.main import main

NETWORKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}


pytestmark = pytest.mark.usefixtures("registered")


def nearest(entry, one):
    middle = one["outline"].min(0) / 2 + one["outline"].max(0) / 2
    boxes = entry["boxes"]
    centers = np.array([b["box"] for b in boxes]).reshape(-1, 2, 2).mean(1)
    return boxes[int(np.linalg.norm(centers - middle, axis=1).argmin())]


def overlap(polygon, other, side=128):
    from PIL import ImageDraw

    masks = []
    for points in (polygon, other):
        canvas = Image.new("1", (side, side))
        ImageDraw.Draw(canvas).polygon([tuple(map(float, p)) for p in points], fill=1)
        masks.append(np.array(canvas))
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", TASKS)
def test_what_was_drawn_is_found(task, tmp_path):
    from ultralytics import YOLO

    data = dataset(task, tmp_path / "set", {"train": 96, "val": 8})
    yolo = YOLO(f"yolov8n{NETWORKS[task]}-rfa.yaml")
    yolo.train(
        data=str(data), imgsz=128, epochs=30, batch=8, nbs=8, optimizer="AdamW", lr0=0.002,
        warmup_epochs=1, warmup_bias_lr=0, mosaic=0, erasing=0, scale=0.2, device="cpu", workers=0,
        plots=False, amp=False, val=False, verbose=False, project=str(tmp_path / "runs"), name="r",
    )  # fmt: skip
    generator = np.random.default_rng(7)
    folder = tmp_path / "new pictures"
    folder.mkdir()
    scenes = {}
    for i in range(6):
        image, found = picture(generator, [i % 2] if task == "classify" else [0, 1, i % 2])
        image.save(folder / f"{i}.png")
        scenes[f"{i}.png"] = found
    weights = next((tmp_path / "runs").rglob("last.pt"))
    out = tmp_path / "seen"
    assert main(["predict", str(weights), str(folder), "--out", str(out)]) == 0
    content = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert content["task"] == task
    assert len(content["pictures"]) == len(scenes)
    right = []
    for entry in content["pictures"]:
        with Image.open(out / entry["drawn"]) as drawn:
            assert drawn.size == (128, 128)
        found = scenes[os.path.basename(entry["source"])]
        if task == "classify":
            right.append(entry["classes"][0]["name"] == CLASSES[found[0]["kind"]])
            continue
        for one in found:
            if not entry["boxes"]:
                right.append(False)
                continue
            ours = nearest(entry, one)
            good = ours["name"] == CLASSES[one["kind"]]
            if task == "segment":
                good &= bool(overlap(np.reshape(ours["polygon"], (-1, 2)), one["outline"]) > 0.6)
            if task == "obb":
                good &= bool(overlap(ours["corners"], one["box"]) > 0.5)
            if task == "pose":
                points = np.array(ours["keypoints"])[:, :2]
                good &= bool(np.linalg.norm(points[1] - one["points"][1]) < 10)
            right.append(good)
    assert np.mean(right) > 0.7, right
