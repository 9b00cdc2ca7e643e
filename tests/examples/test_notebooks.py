"""The tutorials run from top to bottom: as notebooks where jupytext is, else as scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import rfaconv

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.py"))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the repository's weights, and a part of BCCD for the notebook that reads it."""
    shutil.copytree(ROOT / "weights" / "eurosat-rfa", tmp_path / "weights" / "eurosat-rfa")
    if "bccd" not in request.node.name:
        return tmp_path
    shared: Path = request.getfixturevalue("shared")
    with zipfile.ZipFile(shared / "data/bccd-voc/bccd-voc.zip") as archive:
        kept = set()
        for split, count in {"train": 16, "val": 6, "test": 6}.items():
            name = f"BCCD/ImageSets/Main/{split}.txt"
            stems = archive.read(name).decode().split()[:count]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("\n".join(stems) + "\n", encoding="utf-8")
            kept |= set(stems)
        for stem in kept:
            archive.extract(f"BCCD/JPEGImages/{stem}.jpg", tmp_path)
            archive.extract(f"BCCD/Annotations/{stem}.xml", tmp_path)
    return tmp_path


def test_there_are_six() -> None:
    assert len(NOTEBOOKS) == 6
    listed = (ROOT / "examples/notebooks/README.md").read_text(encoding="utf-8")
    assert all(f"[{path.name}]({path.name})" in listed for path in NOTEBOOKS)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, place: Path) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    source = str(Path(rfaconv.__file__).parents[1])
    environment = {
        **inherited,
        "PYTHONPATH": source,
        "YOLO_CONFIG_DIR": str(place / "settings"),
        "YOLO_AUTOINSTALL": "false",
    }
    words = [sys.executable, str(notebook)]
    if find_spec("jupytext") and find_spec("ipykernel") and find_spec("nbconvert"):
        target = str(place / notebook.with_suffix(".ipynb").name)
        words = [sys.executable, "-m", "jupytext", "--to", "ipynb", "--output", target]
        words += ["--execute", "--run-path", str(place), str(notebook)]
    done = subprocess.run(
        words, cwd=place, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
