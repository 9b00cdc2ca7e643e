"""Labels in forms of other programs become a data set that ultralytics reads, or are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_yolo_data import check_with_ultralytics, picture

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.yolo.sources import read_source
from rfaconv.lab.data.yolo.sources_coco import _unpacked, coco_files
from rfaconv.lab.recipes import apply_overrides, read_recipe
from rfaconv.lab.study import source_values
from rfaconv.lab.tasks.yolo import _written


def odd_coco(root: Path, encoding: str = "utf-8", **note):
    """One square of 16 pixels, its annotation changed by ``note``."""
    picture(root / "images" / "a.png")
    about = {"id": 1, "image_id": 5, "category_id": 3, "bbox": [8, 8, 16, 16],
             "segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]], **note}  # fmt: skip
    content = {"images": [{"id": 5, "file_name": "x\\a.png"}], "annotations": [about],
               "categories": [{"id": 3, "name": "square"}]}  # fmt: skip
    (root / "all.json").write_bytes(json.dumps(content).encode(encoding))
    return root


RUNS = [8 * 48 + 8, *[16, 32] * 15, 16, 64 * 48 - 23 * 48 - 24]


@pytest.mark.parametrize("task", ["detect", "segment"])
@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8-sig", {}), ("utf-16", {}), ("utf-8", {"image_id": "5", "category_id": "3"}),
        ("utf-8", {"image_id": 5.0, "iscrowd": "0"}),
        ("utf-8", {"segmentation": {"size": [48, 64], "counts": RUNS}}),
    ],
)  # fmt: skip
def test_coco_in_other_forms(task, encoding, note, tmp_path):
    source = read_source(odd_coco(tmp_path / "coco", encoding, **note), task, strict=True)
    ((label, numbers),) = source.splits["train"][0].rows
    x, y = np.array(numbers).reshape(-1, 2).T * [[64], [48]]
    if task == "detect":
        assert (label, x.tolist(), y.tolist()) == (0, [16, 16], [16, 16])
    else:
        assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx([8, 24, 8, 24], abs=0.51)


@pytest.mark.parametrize(
    "segmentation",
    [
        [["a", 8, 24, 8, 24, 24]], [[8, 8, 24, 8, 24, 24, 8]], [8, 8, 24, 8, 24, 24], "8 8", 3,
        [[float("nan")] * 6], {"counts": [1, 2]}, {"size": [48, 64]},
        {"size": [48, 64], "counts": "zz"}, {"size": [48, 64], "counts": [5, -2, 3069]},
        {"size": [24, 32], "counts": [5, 10, 753]}, {"size": [48, 64], "counts": [5, 10, 753]},
    ],
)  # fmt: skip
def test_coco_outlines_that_are_none_are_named(segmentation, tmp_path):
    root = odd_coco(tmp_path / "coco", segmentation=segmentation)
    source = read_source(root, "segment")
    assert [picture.rows for picture in source.splits["train"]] == [()]
    assert [problem.split(": ", 1)[1] for problem in source.problems] == [
        "no outline: annotation 1 of a.png"
    ]
    with pytest.raises(DataProblem, match="no outline"):
        read_source(root, "segment", strict=True)


def test_packed_run_lengths_are_those_of_pycocotools():
    mask = pytest.importorskip("pycocotools.mask")
    values = np.random.default_rng(0).random((31, 17)) < 0.4
    values[:, 3:12] = True
    packed = mask.encode(np.asfortranarray(values.astype(np.uint8)))
    found = _unpacked({**packed, "counts": packed["counts"].decode()}, (17, 31))
    assert np.array_equal(found, values)


def test_coco_files_of_one_split_are_not_dropped(tmp_path):
    root = odd_coco(tmp_path / "constraints")
    (root / "annotations").mkdir()
    for name in ("stuff_train2017.json", "captions_train2017.json", "._instances_train.json"):
        (root / "annotations" / name).write_text("{}", encoding="utf-8")
    # the name of the folder says nothing of a split, nor do files of other kinds
    assert list(coco_files(root)) == [""]
    (root / "more.json").write_bytes((root / "all.json").read_bytes())
    with pytest.raises(InvalidArgument, match=r"one COCO JSON.*all\.json.*more\.json"):
        read_source(root)
    assert len(read_source(root / "all.json").splits["train"]) == 1
    (root / "more.json").rename(root / "instances_val.json")
    with pytest.raises(InvalidArgument, match="one COCO JSON"):
        read_source(root)


def test_rows_that_are_passed_over_do_not_take_their_picture_along(tmp_path):
    """ultralytics leaves a whole picture out for one row that it does not take."""
    for split in ("train", "val"):
        for name in "ab":
            picture(tmp_path / f"own/images/{split}/{name}.png")
    text = "0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.1 0.1\nx y\n\n0 0.5 0.5 1.2 0.2\n0 2 2 0.1 0.1\n"
    for split in ("train", "val"):
        for name, encoding in (("a", "utf-8"), ("b", "utf-16")):
            label = tmp_path / f"own/labels/{split}/{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_bytes(text.encode(encoding))
    yaml_text = "train: images/train\nval: images/val\nnames: [cell]"
    (tmp_path / "own/data.yaml").write_text(yaml_text, encoding="utf-8")
    data = recipe_data(read_recipe("yolo", [f"data.root={tmp_path / 'own'}"]))
    assert len(data.train) == 2
    file = _written(data, tmp_path / "run")
    assert check_with_ultralytics(file)[0] == {"train": [2, 2], "val": [2, 2]}
    for label in (tmp_path / "run/dataset/labels").rglob("*.txt"):
        text = label.read_text(encoding="utf-8")
        rows = [list(map(float, row.split())) for row in text.splitlines()]
        assert rows[0] == [0, 0.5, 0.5, 0.2, 0.2]
        assert rows[1] == pytest.approx([0, 0.5, 0.5, 1.0, 0.2])


def odd_masks(root: Path, values, suffix=".png", image=".jpg"):
    for i, name in enumerate(("my cell 0", "my cell 1", "my cell 2")):
        picture(root / "images" / f"{name}{image}", i)
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).save(root / "masks" / f"{name}{suffix}")
    return root


def disc(value=1, kind=np.uint8):
    values = np.zeros((48, 64), dtype=kind)
    values[4:20, 4:30] = value
    return values


@pytest.mark.parametrize(
    ("values", "suffix", "image"),
    [(disc(255), ".png", ".jpg"), (disc(), ".bmp", ".tif"), (disc(1, np.uint16), ".tif", ".jfif")],
)
def test_masks_in_other_forms(values, suffix, image, tmp_path):
    source = read_source(odd_masks(tmp_path, values, suffix, image), classes=["cell"], strict=True)
    assert [len(p.rows) for pictures in source.splits.values() for p in pictures] == [1] * 3


def test_masks_that_do_not_fit_are_named(tmp_path):
    root = odd_masks(tmp_path, disc(700, np.uint16))
    Image.fromarray(disc(2)).save(root / "masks/my cell 1.png")
    (root / "images/my cell 2.jpg").unlink()
    (root / "images/._my cell 0.jpg").write_bytes(b"resource")
    source = read_source(root, classes=["cell"])
    said = " ".join(source.problems)
    assert "784" not in said and "416 pixels of value 700, not a class" in said
    assert "my cell 2.png: no image of this name" in said
    assert "416 pixels of value 2, known are 1 to 1" in said
    assert len(source.problems) == 3
    with pytest.raises(RFAConvError):
        read_source(root, classes=["cell"], strict=True)


def test_lists_of_masks(tmp_path):
    root = odd_masks(tmp_path / "voc", disc())
    (root / "images").rename(root / "JPEGImages")
    (root / "masks").rename(root / "SegmentationClass")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_bytes("my cell 0\r\nmy cell 1\r\ngone\r\n".encode("utf-16"))
    (lists / "val.txt").write_text("my cell 2\n", encoding="utf-8")
    source = read_source(root, classes=["cell"])
    assert {split: len(found) for split, found in source.splits.items()} == {"train": 2, "val": 1}
    assert len(source.problems) == 1 and "gone.jpg: no such file" in source.problems[0]
    (root / "SegmentationObject").mkdir()
    Image.fromarray(disc()[:, :9]).save(root / "SegmentationObject/my cell 0.png")
    said = " ".join(read_source(root, classes=["cell"]).problems)
    assert "(9, 48) pixels" in said and "my cell 1.png: no such file" in said


def test_a_folder_of_masks_is_trained_in_one_word(tmp_path):
    name, values, _ = source_values(str(odd_masks(tmp_path / "own", disc())), "yolo")
    recipe = apply_overrides(values, [])
    assert (name, recipe.model.name, recipe.data.classes) == ("own", "yolov8n-seg", ("class 1",))
    data = recipe_data(recipe)
    assert data.classes == ("class 1",) and (len(data.train), len(data.val)) == (2, 1)
