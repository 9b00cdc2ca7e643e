"""The page about detection, followed from top to bottom, and every block of it alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rfaconv

PAGE = Path(__file__).resolve().parents[3] / "docs" / "detection.md"
KEPT = {"train": 16, "val": 6, "test": 6}
PICTURE = "BloodImage_00007"


def blocks():
    """(heading of the part, language, text) of every block with commands or Python."""
    found, part = [], ""
    pattern = re.compile(
        r"^## (?P<part>[^\n]*)$|^```(?P<kind>sh|python|py)\n(?P<text>.*?)^```", re.M | re.S
    )
    for match in pattern.finditer(PAGE.read_text(encoding="utf-8")):
        if match["part"]:
            part = match["part"]
        else:
            found.append((part, match["kind"], match["text"]))
    return found


BLOCKS = blocks()
NAMES = [f"{i}-{part.partition(' ')[0]}" for i, (part, _, _) in enumerate(BLOCKS)]


@pytest.fixture(scope="module")
def start(shared, tmp_path_factory):
    """A folder with a part of BCCD as it is unpacked, and the command on the path."""
    home = tmp_path_factory.mktemp("my pictures")
    with zipfile.ZipFile(shared / "data/bccd-voc/bccd-voc.zip") as archive:
        members = set(archive.namelist())
        stems = set()
        for split, count in KEPT.items():
            name = f"BCCD/ImageSets/Main/{split}.txt"
            found = archive.read(name).decode().split()
            found = sorted(found, key=lambda s: s != PICTURE)[:count]
            stems |= set(found)
            target = home / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("\n".join(found) + "\n", encoding="utf-8")
        for stem in stems:
            for name in (f"BCCD/JPEGImages/{stem}.jpg", f"BCCD/Annotations/{stem}.xml"):
                assert name in members
                archive.extract(name, home)
    return home


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "rfaconv"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nfrom rfaconv.cli.main import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    command.chmod(0o755)
    source = str(Path(rfaconv.__file__).parents[1])
    # ultralytics writes elsewhere where it sees pytest
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return {
        **inherited,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
        "YOLO_AUTOINSTALL": "false",
    }


def settle(home, environment):
    """In a git repository ultralytics writes its runs into the top folder unless told where."""
    run("sh", 'rfaconv yolo settings runs_dir="$PWD/runs"', home, environment)


def run(kind, text, home, environment):
    words = ["bash", "-euc", text] if kind == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def rows(folder):
    text = (folder / f"{PICTURE}.txt").read_text(encoding="utf-8")
    return np.array([line.split() for line in text.splitlines()], dtype=float)


# What the networks give before boxes are left out: where scores tie, as in a network that was
# hardly trained, any rounding decides which box stands for those that overlap it.
RAW = """
import numpy, onnxruntime, sys, torch
from ultralytics import YOLO
network = YOLO(sys.argv[1] + "/best.pt").model.eval()
file = sys.argv[1] + "/best.onnx"
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
torch.manual_seed(0)
x = torch.rand(1, 3, 160, 192)
with torch.no_grad():
    ours = network(x)[0].numpy()
theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
assert ours.shape == theirs.shape and numpy.ptp(ours[:, :4]) > 10
numpy.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
"""


def test_a_newcomer_comes_from_pictures_to_an_exported_network(start, environment, tmp_path):
    """The first part of the page as it is printed; the exported boxes are PyTorch's."""
    home = tmp_path / "my cells"
    shutil.copytree(start, home)
    script = "".join(t for part, kind, t in BLOCKS if part.startswith("From") and kind == "sh")
    assert 5 <= len(script.splitlines()) <= 20
    settle(home, environment)
    run("sh", script, home, environment)
    assert (home / "seen" / "predictions.json").is_file()
    ours, theirs = (rows(home / f"runs/detect/{who}/labels") for who in ("torch", "onnx"))
    assert min(len(ours), len(theirs)) > 10
    assert (ours[:, 3:5] < 0.9).any()  # not all of them the whole picture
    words = [sys.executable, "-c", RAW, str(home / "runs/detect/rfa/weights")]
    done = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def finished(start, environment, tmp_path_factory):
    """The folder of somebody who followed the whole page."""
    home = tmp_path_factory.mktemp("page") / "my cells"
    shutil.copytree(start, home)
    settle(home, environment)
    for _, kind, text in BLOCKS:
        run(kind, text, home, environment)
    return home


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("index", range(len(BLOCKS)), ids=NAMES)
def test_every_block_alone(index, finished, environment, tmp_path):
    """In a process of its own, with nothing from another block but its files."""
    home = tmp_path / "my cells"
    shutil.copytree(finished, home)
    for name in re.findall(r"runs/cells(?:-\w+)?", BLOCKS[index][2]):
        if "train" in BLOCKS[index][2]:  # it would find its own run, which has ended
            shutil.rmtree(home / name, ignore_errors=True)
    settle(home, environment)
    run(BLOCKS[index][1], BLOCKS[index][2], home, environment)
