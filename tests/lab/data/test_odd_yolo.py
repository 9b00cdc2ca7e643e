"""YOLO as people have it: odd names, encodings, links, labels; read right, or named."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_images import HIGH, WIDE, image

from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data.yolo.reading import read_yolo
from rfaconv.lab.looking import look
from rfaconv.lab.recipes import read_recipe


def yolo(root: Path, names: str, rows: bytes = b"1 0.5 0.5 0.5 0.5", more: str = "") -> Path:
    image(root / "images/train/a.jpg")
    (root / "labels/train").mkdir(parents=True, exist_ok=True)
    (root / "labels/train/a.txt").write_bytes(rows)
    text = f"train: images/train\nnames: {names}\n{more}"
    (root / "data.yaml").write_text(text, encoding="utf-8")
    return root


MIDDLE = (WIDE / 4, HIGH / 4, 3 * WIDE / 4, 3 * HIGH / 4)


@pytest.mark.parametrize("names", ["[a, b]", "{0: a, 1: b}", "{'1': b, '0': a}", "{0: a, '1': b}"])
def test_yolo_names(names: str, tmp_path: Path) -> None:
    found = read_yolo(yolo(tmp_path, names), "train", strict=True)
    assert found.classes == ("a", "b")
    assert (found.samples[0].labels, found.samples[0].boxes) == ((1,), (MIDDLE,))


def test_yolo_many_names_written_as_text(tmp_path: Path) -> None:
    names = "{" + ", ".join(f"'{n}': n{n}" for n in range(12)) + "}"
    found = read_yolo(yolo(tmp_path, names, b"10 0.5 0.5 0.5 0.5"), "train", strict=True)
    assert found.classes[found.samples[0].labels[0]] == "n10"


@pytest.mark.parametrize(
    "names", ["", "cat", "3", "[]", "{0: a, 2: b}", "{1: a, 2: b}", "[[a], b]", "{a: 0, b: 1}",
              "{0: a, 0: b}"],
)  # fmt: skip
def test_yolo_names_that_are_none(names: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"data.root: expected .*data.yaml") as caught:
        read_yolo(yolo(tmp_path, names) / "data.yaml", "train")
    assert "\n" not in str(caught.value)


def test_yolo_rows_of_poses(tmp_path: Path) -> None:
    row = b"1 0.5 0.5 0.5 0.5 0.1 0.1 0.9 0.9 0.2 0.3"
    root = yolo(tmp_path, "[a, b]", row, "kpt_shape: [3, 2]")
    assert read_yolo(root, "train", strict=True).samples[0].boxes == (MIDDLE,)


def test_yolo_files_beside_and_files_that_are_none(tmp_path: Path) -> None:
    root = yolo(tmp_path, "[a, b]")
    (root / "images/train/._a.jpg").write_bytes(b"resource")
    (root / "labels/train/classes.txt").write_text("a\nb", encoding="utf-8")
    assert not read_yolo(root, "train", strict=True).problems
    image(root / "images/train/b.jpg")
    (root / "labels/train/b.txt").write_bytes(b"\xff\x00\xd8")
    (root / "labels/train/gone.txt").write_text("0 0.5 0.5 0.5 0.5", encoding="utf-8")
    found = read_yolo(root, "train")
    assert [s.image.name for s in found.samples] == ["a.jpg"]
    assert [(p.kind, p.path.name) for p in found.problems] == [
        ("bad label", "b.txt"), ("missing image", "gone.txt"),
    ]  # fmt: skip


def test_yolo_without_images_to_learn_from(tmp_path: Path) -> None:
    root = yolo(tmp_path, "[a, b]")
    (root / "data.yaml").write_text("test: images/train\nnames: [a, b]", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"path: expected a key train in .*data.yaml"):
        look(root)


@pytest.mark.parametrize("task", ["detect", "yolo"])
def test_images_without_any_box_are_refused(task: str, tmp_path: Path) -> None:
    root = yolo(tmp_path, "[a, b]")
    (root / "labels").rename(root / "label")
    name = {"detect": "boxes", "yolo": "yolo"}[task]
    words = [f"data.root={root}", *(["data.format=yolo"] if task == "detect" else [])]
    if task == "yolo":
        pytest.importorskip("ultralytics")
    with pytest.raises(InvalidArgument, match="images with boxes to learn from, got 1 images"):
        recipe_data(read_recipe(name, words))
    # average precision is not defined without any
    (root / "label").rename(root / "labels")
    image(root / "images/val/b.jpg")
    text = "train: images/train\nval: images/val\nnames: [a, b]"
    (root / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgument, match="images with boxes to judge on, got 1 images"):
        recipe_data(read_recipe(name, words))
