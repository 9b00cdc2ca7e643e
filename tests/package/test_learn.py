"""Every block of the pages that teach runs alone, as it is printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rfaconv
from rfaconv.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    page
    for folder in ("learn", "how")
    for page in (ROOT / "docs" / folder).glob("*.md")
    if not page.name.endswith(".zh.md")
)
BLOCKS = [
    pytest.param(match["kind"], match["text"], id=f"{page.stem}-{index}")
    for page in PAGES
    for index, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")))
]
VOC = """<annotation><filename>{name}.jpg</filename>
<size><width>64</width><height>64</height><depth>3</depth></size>
<object><name>cell</name><bndbox><xmin>{left}</xmin><ymin>20</ymin><xmax>{right}</xmax>
<ymax>44</ymax></bndbox></object></annotation>"""


def picture(path: Path, left: int, seed: int) -> None:
    """Noise with a bright square."""
    pixels = np.random.default_rng(seed).integers(0, 90, (64, 64, 3), dtype=np.uint8)
    pixels[20:44, left : left + 24] = 220
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: photos of classes, cells with labels, weights."""
    for kind in ("cat", "dog"):
        for i in range(8):
            picture(tmp_path / "photos" / kind / f"{i}.jpg", 4 if kind == "cat" else 36, i)
    for i in range(6):
        name, left = f"cell_{i}", 4 + 6 * i
        picture(tmp_path / "cells/JPEGImages" / f"{name}.jpg", left, i)
        label = tmp_path / "cells/Annotations" / f"{name}.xml"
        label.parent.mkdir(parents=True, exist_ok=True)
        text = VOC.format(name=name, left=left, right=left + 24)
        label.write_text(text, encoding="utf-8")
    if (ROOT / "weights").is_dir():
        shutil.copytree(ROOT / "weights" / "eurosat-rfa", tmp_path / "weights" / "eurosat-rfa")
    monkeypatch.chdir(tmp_path)
    return tmp_path


LINES = """
import shlex, sys
from rfaconv.cli.main import main
for line in sys.stdin.read().splitlines():
    name, *words = shlex.split(line)
    assert name == "rfaconv"
    if main(words):
        sys.exit(line)
"""


def outside(text: str, home: Path) -> None:
    """Commands in one process of their own: ultralytics writes elsewhere where it sees pytest."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        "PYTHONPATH": str(Path(rfaconv.__file__).parents[1]),
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(home / "settings"),
    }
    # in a git repository ultralytics writes its runs into the top folder unless told where
    settings = f"rfaconv yolo settings runs_dir={shlex.quote(str(home / 'runs'))}\n"
    done = subprocess.run(
        [sys.executable, "-c", LINES],
        input=settings + text, cwd=home, env=environment, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_block_runs_alone(kind: str, text: str, home: Path) -> None:
    if kind == "text":
        return
    if "weights/" in text and not (ROOT / "weights").is_dir():
        pytest.skip("weights are part of the repository")
    if kind == "python":
        exec(compile(text, "block", "exec"), {"__name__": "__main__"})
        return
    assert kind == "sh", f"a block of {kind!r} has nobody who runs it"
    if "pytest" in text:  # the gate runs the README's own command, which this must be
        assert f"```sh\n{text}```" in (ROOT / "README.md").read_text(encoding="utf-8")
    elif "rfaconv yolo" in text:
        outside(text, home)
    else:
        for line in text.splitlines():
            name, *words = shlex.split(line)
            assert name == "rfaconv"
            assert main(words) == 0, line


def test_there_are_blocks() -> None:
    kinds = [param.values[0] for param in BLOCKS]
    assert {"python", "sh", "text"} == set(kinds)
    assert len(PAGES) >= 10
