"""A run knows the images that it was begun with by what it reads of them."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_own_images import FOLDERS, QUICK, SIDE, classes

from rfaconv.cli.main import main
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data.digest import BLOCK, content_of
from rfaconv.lab.recipes import apply_overrides
from rfaconv.lab.study import source_values

SETS = [(kind, None) for kind in FOLDERS] + [(k, "yolo") for k in ("voc", "coco", "yolo", "masks")]


def digest(root: Path, task: str | None) -> str:
    if task == "yolo":
        pytest.importorskip("ultralytics")
    _, values, _ = source_values(str(root), task)
    return str(recipe_data(apply_overrides(values, [])).digest)


def other_picture(path: Path) -> None:
    """Another picture of the same name and of as many bytes."""
    before = path.read_bytes()
    Image.new("RGB", (SIDE, SIDE), (9, 8, 7)).save(buffer := io.BytesIO(), "PNG")
    assert len(buffer.getvalue()) <= len(before)
    path.write_bytes(buffer.getvalue().ljust(len(before), b"\0"))


@pytest.mark.parametrize(("kind", "task"), SETS)
def test_another_picture_of_the_same_size(kind: str, task: str | None, tmp_path: Path) -> None:
    FOLDERS[kind](tmp_path / "own")
    before = digest(tmp_path / "own", task)
    shutil.copytree(tmp_path / "own", tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, (1, 1))
    assert digest(tmp_path / "copy", task) == before
    pictures = sorted(p for p in (tmp_path / "own").rglob("*.png") if "masks" not in p.parts)
    other_picture(pictures[-1])
    assert digest(tmp_path / "own", task) != before


def one_digit(root: Path) -> None:
    """As many bytes as before."""
    path = sorted([*root.rglob("*.xml"), *root.rglob("*.json"), *root.rglob("labels/*/*.txt")])[-1]
    text = path.read_text(encoding="utf-8")
    for old, new in (("xmax>48", "xmax>47"), ("8, 28]", "8, 27]"), ("0.437500", "0.407500")):
        text = text.replace(old, new)
    assert text != path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")


def one_pixel(root: Path) -> None:
    path = sorted((root / "masks").rglob("*.png"))[-1]
    with Image.open(path) as image:
        mask = np.array(image)
    mask[20:40, 46:50] ^= 1
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize(("kind", "task"), [s for s in SETS if s[0] != "classes"])
def test_another_label(kind: str, task: str | None, tmp_path: Path) -> None:
    FOLDERS[kind](tmp_path)
    before = digest(tmp_path, task)
    (one_pixel if kind == "masks" else one_digit)(tmp_path)
    assert digest(tmp_path, task) != before


@pytest.mark.parametrize("change", ["gone", "empty"])
def test_a_label_file_that_is_gone(change: str, tmp_path: Path) -> None:
    """Without a row and without a file are the same to YOLO."""
    FOLDERS["yolo"](tmp_path)
    label = next((tmp_path / "labels/train").iterdir())
    whole = digest(tmp_path, "yolo")
    label.write_text("", encoding="utf-8")
    empty = digest(tmp_path, "yolo")
    assert empty != whole
    label.unlink()
    assert digest(tmp_path, "yolo") == empty


def test_an_image_that_moves_from_training_to_validation(tmp_path: Path) -> None:
    FOLDERS["yolo"](tmp_path)
    before = digest(tmp_path, "yolo")
    lists = [sorted((tmp_path / "images" / s).iterdir()) for s in ("train", "val")]
    for first, name in ((6, "a"), (5, "b")):
        train, val = [*lists[0], *lists[1]][:first], [*lists[0], *lists[1]][first:]
        for split, files in (("train", train), ("val", val)):
            text = "\n".join(map(str, files))
            (tmp_path / f"{name}-{split}.txt").write_text(text, encoding="utf-8")
        text = f"train: {name}-train.txt\nval: {name}-val.txt\nnames: [square]"
        (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
        assert (digest(tmp_path, "yolo") == before) == (name == "a")


@pytest.mark.parametrize(
    ("size", "place", "seen"),
    [(3 * BLOCK, BLOCK + 5, True), (64 * BLOCK, 0, True), (64 * BLOCK, 32 * BLOCK, True),
     (64 * BLOCK, -1, True), (64 * BLOCK, 10 * BLOCK, False)],
)  # fmt: skip
def test_of_a_large_file_three_blocks_are_read(
    size: int, place: int, seen: bool, tmp_path: Path
) -> None:
    content = bytearray(size)
    (tmp_path / "a").write_bytes(content)
    content[place] = 1
    (tmp_path / "b").write_bytes(content)
    assert (content_of(tmp_path / "a") != content_of(tmp_path / "b")) == seen
    assert content_of(tmp_path / "a", whole=True) != content_of(tmp_path / "b", whole=True)


def earlier(file: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(file.read_text(encoding="utf-8"))
    change(value)
    file.write_text(json.dumps(value), encoding="utf-8")


def test_runs_of_earlier_versions_go_on(tmp_path: Path, monkeypatch, capsys) -> None:
    """Their digest went by names and sizes."""
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "own")
    words = ["train", "own", "--out", "run", *QUICK]
    assert main(words) == 0
    other_picture(tmp_path / "own/square/my pic 3.png")
    assert main(words) == 2
    assert "the images that run was begun with" in capsys.readouterr().err
    earlier(tmp_path / "run/data.json", lambda v: v.update(digest="0123456789abcdef"))
    assert main(words) == 0
    (tmp_path / "own/nothing").rename(tmp_path / "own/zebra")
    assert main(words) == 2
    assert "got others: classes square, zebra" in capsys.readouterr().err


def test_comparisons_of_earlier_versions_go_on(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "own")
    words = ["compare", "own", *QUICK[:3], "--operators", "conv", "--seeds", "1", "--out", "out"]
    assert main(words) == 0
    capsys.readouterr()
    other_picture(tmp_path / "own/square/my pic 3.png")
    assert main(words) == 2
    assert "recipes.own.digest" in capsys.readouterr().err
    earlier(tmp_path / "out/run.json",
            lambda v: v["settings"].update({"recipes.own.digest": "0123456789abcdef"}))  # fmt: skip
    assert main(words) == 0
