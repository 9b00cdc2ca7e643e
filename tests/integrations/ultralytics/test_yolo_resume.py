"""A converted checkpoint in plain ultralytics: trained, broken off, resumed."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from testing.yolo_exports import pictures

import rfaconv

SETTINGS = "imgsz=32 batch=2 nbs=2 device=cpu workers=0 plots=False amp=False val=False seed=3"
# nothing here names rfaconv: what the checkpoint pickles brings it
TRAIN = """
import sys
from ultralytics import YOLO
model, data, epochs, stop = sys.argv[1:5]
yolo = YOLO(model)
given = {k: v.clone() for k, v in yolo.model.float().state_dict().items()}

def begin(trainer):
    now = trainer.model.state_dict()
    same = all(bool((now[k] == v.to(now[k].dtype)).all()) for k, v in given.items() if k in now)
    print("begins with what was converted:", same and set(now) == set(given))

def end(trainer):
    if trainer.epoch + 1 == int(stop):
        raise KeyboardInterrupt

yolo.add_callback("on_train_start", begin)
yolo.add_callback("on_model_save", end)
settings = dict(word.split("=") for word in sys.argv[5:])
yolo.train(data=data, epochs=int(epochs), project="runs", name="t", **{
    k: int(v) if v.isdigit() else v == "True" if v in ("True", "False") else v
    for k, v in settings.items()
})
"""
RESUME = "from ultralytics.cfg import entrypoint; entrypoint()"


def plain(home, program, *words):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    source = str(Path(rfaconv.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([source, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=home, capture_output=True, encoding="utf-8",
        env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("network", "operator", "at"),
    [("yolov8n", "rfa", "down"), ("yolov8n", "rfcbam", "blocks"), ("yolo11n", "rfca", "head"),
     ("yolo26n", "rfa", "all")],
)  # fmt: skip
def test_a_converted_checkpoint_resumes_in_plain_ultralytics(network, operator, at, tmp_path):
    from ultralytics import YOLO

    from rfaconv.cli.main import main

    data = pictures(tmp_path / "set")
    YOLO(f"{network}.yaml").train(
        data=str(data), epochs=1, project=str(tmp_path / "first"), name="t", verbose=False,
        imgsz=32, batch=2, nbs=2, device="cpu", workers=0, plots=False, amp=False, val=False,
    )  # fmt: skip
    best = next((tmp_path / "first").rglob("last.pt"))
    new = tmp_path / "converted.pt"
    assert main(["yolo", "convert", str(best), operator, "--at", at, "--out", str(new)]) == 0
    code, said = plain(tmp_path, TRAIN, str(new), str(data), "3", "1", *SETTINGS.split())
    assert "begins with what was converted: True" in said, said[-3000:]
    assert code != 0  # broken off
    last = next((tmp_path / "runs").rglob("last.pt"))
    stopped = YOLO(last).model.float().state_dict()
    assert torch.load(last, weights_only=False)["optimizer"] is not None
    code, said = plain(tmp_path, RESUME, "train", "resume", f"model={last}")
    assert code == 0, said[-3000:]
    with (last.parent.parent / "results.csv").open(encoding="utf-8") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3]
    resumed = YOLO(last).model.float()
    names = {type(m).__name__ for m in resumed.modules()}
    title = {"rfa": "RFAConv", "rfcbam": "RFCBAMConv", "rfca": "RFCAConv"}[operator]
    assert title in names
    moved = resumed.state_dict()
    assert set(moved) == set(stopped)
    assert any(not torch.equal(moved[k], v) for k, v in stopped.items())
