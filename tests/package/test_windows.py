"""The package where the system has no fork, no /proc, no links and no handles of folders."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = (
    "timm safetensors lightning pytorch_lightning torchmetrics torchvision sklearn numpy scipy PIL "
    "yaml tensorboard matplotlib ultralytics thop pycocotools "
    "segmentation_models_pytorch fastapi uvicorn httpx onnxruntime onnx onnxscript openvino nncf "
    "triton accelerate"
)
TRAIN = (
    "timm safetensors lightning pytorch_lightning torchmetrics torchvision sklearn numpy scipy PIL "
    "yaml"
)

BEGIN = """
import importlib, pkgutil, subprocess, sys, tempfile, multiprocessing, pathlib
import filelock, torch, typer, rich.console, rich.table
for name in {before!r}:
    importlib.import_module(name)
for name in {blocked!r}:
    sys.modules[name] = None
from testing import without_posix
without_posix.hide()
import rfaconv
lacking = set()
for info in pkgutil.walk_packages(rfaconv.__path__, "rfaconv."):
    if info.name.rpartition(".")[2].startswith("librfaconv"):  # a library, for ctypes
        continue
    try:
        importlib.import_module(info.name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in {blocked!r}:
            raise
        lacking.add(info.name)
for name in ("nn", "ops", "official", "surgery", "cli.main", "cli.doctor", "backends.selftest"):
    assert f"rfaconv.{{name}}" not in lacking, lacking
"""

OPERATORS = """
from rfaconv import dispatch
CPU = next(status.available for status in dispatch.available() if status.name == "cpu")
for name in ["RFAConv", "RFCBAMConv", "RFCAConv", "CAMConv", "CBAMConv", "CAConv"]:
    for dims in (1, 2, 3):
        make = getattr(rfaconv.nn, f"{name}{dims}d", None)
        if make is None:
            assert name.startswith("C") and dims != 2, name
            continue
        choices = [{}]
        if name.startswith("R"):
            names = ("auto", "reference", *(["cpu"] if CPU and dims == 2 else []))
            choices = [{"backend": backend} for backend in names]
        for chosen in choices:
            layer = make(6, 4, 3, **chosen)
            x = torch.randn(2, 6, *[7] * dims, requires_grad=True)
            layer(x).square().sum().backward()
            assert all(p.grad is not None for p in (x, *layer.parameters()))
            with torch.no_grad():
                assert layer.eval()(x).isfinite().all()
"""

DOCTOR = """
from rfaconv.cli.main import main
assert main(["doctor"]) == 0
assert main(["doctor", "--json"]) == 0
"""

SAVES = """
from types import SimpleNamespace as Fake
from rfaconv.files import write_atomic
from rfaconv.lab.training.preemption import Preemption, random_state, set_random_state
from rfaconv.lab.training.saves import Saves, best_good, check, last_good
run = pathlib.Path(sys.argv[1])
network = torch.nn.Linear(2, 1)
trainer = Fake(is_global_zero=True, strategy=Fake(barrier=lambda: None), current_epoch=0,
    save_checkpoint=lambda path, weights_only: torch.save({"network": network.state_dict()}, path))
module = Fake(evaluated=network, history=[], batches_done=0, score_name="top1")
saves = Saves(run, keep=2)
for epoch, top1 in enumerate((0.5, 0.9, 0.7, 0.8)):
    trainer.current_epoch = epoch
    module.history.append(Fake(score=top1))
    saves.on_train_epoch_end(trainer, module)
saves.save_within(trainer, module, 3)
newest, damaged = last_good(run)
assert newest.name == "epoch-0003-batch-000003" or newest.name.startswith("epoch-0004"), newest
assert not damaged and best_good(run).name == "epoch-0002" and check(newest) is None
state = torch.load(newest / "trainer.ckpt", weights_only=True)
assert state["network"]["weight"].equal(network.weight)
(newest / "weights.safetensors").write_bytes(b"")
before, damaged = last_good(run)
assert before != newest and len(damaged) == 1
with Preemption(saves, 1).listening():
    set_random_state(random_state())

from PIL import Image
from rfaconv.lab.data.boxes import DetectionSet, Sample
from rfaconv.lab.data.yolo.writing import write_dataset
Image.new("RGB", (8, 8)).save(run / "a.png")
boxes = DetectionSet([Sample(run / "a.png", (8, 8), ((1, 1, 5, 5),), (0,))], ["one"])
written = write_dataset({"train": boxes, "val": boxes}, run / "yolo")
pictures = list(written.parent.rglob("*.png"))
assert len(pictures) == 2 and all(Image.open(p).size == (8, 8) for p in pictures)

from rfaconv.lab.store import Store
store = Store(run / "comparison")
store.open({"epochs": 1, "seeds": [0]})
with store.lock():
    store.write("pairs/x.json", {"a": "é"})
assert store.read("pairs/x.json") == {"a": "é"}
"""


def run(code, tmp_path):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_base_installation(tmp_path):
    begin = BEGIN.format(before=[], blocked=EXTRAS.split())
    run(begin + OPERATORS + DOCTOR, tmp_path)


def test_with_the_extra_train(tmp_path):
    absent = [name for name in EXTRAS.split() if name not in TRAIN.split()]
    run(BEGIN.format(before=TRAIN.split(), blocked=absent) + SAVES, tmp_path)
