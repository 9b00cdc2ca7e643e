"""``rfaconv predict`` of ultralytics' networks: what its results hold, as JSON and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from rfaconv.cli.main import main

TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}


pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "my scene.png"
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save(tmp_path, task, base="yolov8n"):
    from ultralytics import YOLO

    yolo = YOLO(f"{base}{TASKS[task]}-rfa.yaml")
    yolo.model.args = {"task": task, "imgsz": 64}
    path = tmp_path / f"{task}.pt"
    yolo.save(path)
    return path


@pytest.mark.parametrize("task", TASKS)
def test_json_and_drawing_are_ultralytics(task, tmp_path, scene, capsys):
    from ultralytics import YOLO

    weights = save(tmp_path, task)
    out = tmp_path / "out"
    words = ["predict", str(weights), str(scene), "--out", str(out), "--threshold", "0"]
    assert main(words) == 0
    content = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert content["task"] == task
    entry = content["pictures"][0]
    pixels = np.array(Image.open(scene))[..., ::-1].copy()
    found = YOLO(weights).predict(pixels, conf=0, device="cpu", verbose=False)[0]
    drawn = np.array(Image.open(out / entry["drawn"]))
    np.testing.assert_array_equal(drawn, found.plot()[..., ::-1])
    if task == "classify":
        assert [c["name"] for c in entry["classes"]] == [found.names[i] for i in found.probs.top5]
        return
    objects = found.obb if task == "obb" else found.boxes
    assert len(entry["boxes"]) == len(objects) > 0
    order = objects.conf.argsort(descending=True, stable=True).tolist()
    for ours, i in zip(entry["boxes"], order, strict=True):
        assert ours["name"] == found.names[int(objects.cls[i])]
        assert ours["box"] == pytest.approx(objects.xyxy[i].tolist(), abs=0.01)
        if task == "segment":
            assert np.array(ours["polygon"]).reshape(-1, 2) == pytest.approx(
                found.masks.xy[i].reshape(-1, 2), abs=0.01
            )
        if task == "pose":
            assert np.array(ours["keypoints"]) == pytest.approx(
                found.keypoints.data[i].numpy(), abs=0.01
            )
        if task == "obb":
            x, y, width, height, angle = found.obb.xywhr[i].tolist()
            assert [*ours["center"], *ours["size"]] == pytest.approx(
                [x, y, width, height], abs=0.01
            )
            assert ours["angle"] == pytest.approx(angle, abs=1e-5)
            assert np.array(ours["corners"]).shape == (4, 2)


def test_nothing_found_is_an_empty_list(tmp_path, scene):
    weights = save(tmp_path, "segment")
    out = tmp_path / "out"
    assert main(["predict", str(weights), str(scene), "--out", str(out), "--threshold", "1"]) == 0
    content = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert content["pictures"][0]["boxes"] == []


def test_a_forks_checkpoint_is_answered_in_one_line(tmp_path, scene, capsys):
    import sys
    import types

    name = "ultralytics.nn.extra_modules"
    foreign = types.ModuleType(name)
    foreign.Layer = type("Layer", (torch.nn.ReLU,), {"__module__": name})
    sys.modules[name] = foreign
    try:
        torch.save({"model": foreign.Layer()}, tmp_path / "fork.pt")
    finally:
        del sys.modules[name]
    assert main(["predict", str(tmp_path / "fork.pt"), str(scene)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "rfaconv yolo import" in said


def test_other_tasks_are_refused_in_one_line(tmp_path, scene, capsys):
    from ultralytics import YOLO

    yolo = YOLO("yolo26n-sem.yaml")
    yolo.save(tmp_path / "sem.pt")
    assert main(["predict", str(tmp_path / "sem.pt"), str(scene)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "classify, detect, segment, pose, obb" in said
