"""The bundled sample of EuroSAT: balanced, apart, and what the manifest says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from rfaconv.lab.data import DataSpec, load_data
from rfaconv.lab.data.sample import ARCHIVE, read_sample
from rfaconv.lab.recipes.files import read_recipe

FOLDER = files("rfaconv.lab.data.sample")
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
TOOL = Path(__file__).resolve().parents[3] / "tools/eurosat_sample.py"


def test_balanced_and_apart() -> None:
    train, val, classes = read_sample()
    assert len(classes) == 10 and "River" in classes
    for part, name in ((train, "train_per_class"), (val, "val_per_class")):
        assert torch.bincount(part.labels).tolist() == [MANIFEST[name]] * 10
        assert part.images.shape[1:] == (3, 64, 64)
    seen = [{image.numpy().tobytes() for image in part.images} for part in (train, val)]
    assert not seen[0] & seen[1]
    assert len(seen[0]) == len(train) and len(seen[1]) == len(val)


def test_the_archive_is_the_manifest_s() -> None:
    content = (FOLDER / ARCHIVE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == MANIFEST["sha256"]
    assert len(content) < 6_000_000
    assert "MIT License" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Helber" in MANIFEST["citation"]


def test_a_data_set_and_a_recipe() -> None:
    data = load_data(DataSpec("eurosat-sample"))
    assert (data.image_size, data.channels, data.hflip) == (64, 3, True)
    recipe = read_recipe("eurosat-sample")
    steps = -(-len(data.train) // recipe.batch_size) * recipe.epochs
    assert steps >= 200  # fewer say little, and a comparison would warn


def test_the_tool_makes_it_again(tmp_path: Path, shared: Path) -> None:
    source = shared / "data/eurosat-rgb-8k/eurosat-rgb-8k.zip"
    if not source.is_file() or not TOOL.is_file():
        pytest.skip("needs EuroSAT's larger zip and the project's tools")
    counts = ["--train", str(MANIFEST["train_per_class"]), "--val", str(MANIFEST["val_per_class"])]
    subprocess.run([sys.executable, TOOL, source, *counts, "--out", tmp_path], check=True)
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8")) == MANIFEST
