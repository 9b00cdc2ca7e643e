"""Boxes from VOC and COCO, and every kind of bad data: named, counted, not fatal unless strict."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from PIL import Image

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.coco import read_coco
from rfaconv.lab.data.voc import read_voc


def voc(root, entries, split="train"):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Main" / f"{split}.txt").write_text(
        "\n".join(entries) + "\n", encoding="utf-8"
    )
    for stem, objects in entries.items():
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{stem}.jpg")
        text = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
            f"<ymax>{d}</ymax></bndbox></object>"
            for name, (a, b, c, d) in objects
        )
        label = f"<annotation><filename>{stem}.jpg</filename>{text}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(label, encoding="utf-8")
    return root


def test_voc_counts_from_one(tmp_path):
    found = read_voc(
        voc(tmp_path, {"a": [("dog", (1, 1, 40, 30)), ("cat", (5, 6, 7, 8))]}), "train"
    )
    assert found.classes == ("cat", "dog")
    image, target = found[0]
    assert image.shape == (3, 30, 40) and image.dtype == torch.float32
    assert target["boxes"].tolist() == [[0, 0, 40, 30], [4, 5, 7, 8]]
    assert target["labels"].tolist() == [2, 1]
    assert found.problems == ()


def test_bad_voc_data_is_named_and_counted(tmp_path):
    good = [("cell", (2, 2, 9, 9))]
    root = voc(
        tmp_path,
        {
            "good": good,
            "missing": good,
            "empty": good,
            "broken": good,
            "boxes": [
                ("cell", (5, 5, 5, 9)),
                ("cell", (50, 5, 60, 9)),
                ("cell", (30, 5, 60, 9)),
                ("dust", (3, 3, 9, 9)),
                ("cell", (3, 3, 9, 9)),
            ],
        },
    )
    (root / "Annotations/missing.xml").unlink()
    (root / "JPEGImages/empty.jpg").write_bytes(b"")
    (root / "Annotations/broken.xml").write_text("<annotation><object>", encoding="utf-8")
    found = read_voc(root, "train", ["cell"])
    assert [s.image.stem for s in found.samples] == ["good", "boxes"]
    assert found.samples[1].boxes == ((29.0, 4.0, 40.0, 9.0), (2.0, 2.0, 9.0, 9.0))
    kinds = sorted(p.kind for p in found.problems)
    assert kinds == sorted(
        [
            *("missing label", "bad label", "bad image", "unknown class"),
            *("box of no size", "box outside", "box cut"),
        ]
    )
    for part in ("2 pictures, 3 boxes", "1 x missing label", "1 x box outside"):
        assert part in found.summary()
    assert any("empty.jpg: bad image: an empty file" in str(p) for p in found.problems)
    with pytest.raises(DataProblem, match=r"missing\.xml: missing label"):
        read_voc(root, "train", ["cell"], strict=True)


def test_voc_without_the_list(tmp_path):
    root = voc(tmp_path, {"a": []})
    with pytest.raises(InvalidArgument, match="split: expected one of train, got 'val'"):
        read_voc(root, "val")


def test_bad_coco_data_is_named_and_counted(tmp_path):
    for name in ("a", "b", "extra"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.jpg")
    content = {
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "ant"}],
        "images": [{"id": i, "file_name": f"{n}.jpg"} for i, n in enumerate(("a", "b", "gone"))],
        "annotations": [
            {"image_id": 0, "category_id": 7, "bbox": [1, 2, 10, 10], "iscrowd": 0},
            {"image_id": 0, "category_id": 99, "bbox": [1, 2, 10, 10], "iscrowd": 0},
            {"image_id": 0, "category_id": 3, "bbox": [30, 20, 20, 20], "iscrowd": 0},
            {"image_id": 0, "category_id": 3, "bbox": [1, 2, 10, 10], "iscrowd": 1},
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = read_coco(tmp_path, path)
    assert found.classes == ("ant", "cat")
    assert found.samples[0].labels == (1, 0)
    assert found.samples[0].boxes == ((1, 2, 11, 12), (30, 20, 40, 30))
    assert found[1][1]["boxes"].shape == (0, 4)
    kinds = [p.kind for p in found.problems]
    assert kinds == ["unknown class", "box cut", "missing image", "missing label"]
    with pytest.raises(DataProblem, match="category id 99"):
        read_coco(tmp_path, path, strict=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="a COCO JSON"):
        read_coco(tmp_path, path)


def test_blood_cells(shared, tmp_path):
    with zipfile.ZipFile(shared / "data/bccd-voc/bccd-voc.zip") as archive:
        archive.extractall(tmp_path)
    sets = {name: read_voc(tmp_path / "BCCD", name) for name in ("train", "val", "test")}
    assert [len(s) for s in sets.values()] == [205, 87, 72]
    assert {s.classes for s in sets.values()} == {("Platelets", "RBC", "WBC")}
    boxes = sum(len(sample.boxes) for s in sets.values() for sample in s.samples)
    flat = [p for s in sets.values() for p in s.problems if p.kind == "box of no size"]
    assert boxes == 4888 - len(flat) == 4886
    assert {p.path.stem for p in flat} == {"BloodImage_00343", "BloodImage_00338"}


def test_coco_mini(shared, tmp_path):
    with zipfile.ZipFile(shared / "data/coco2017-cc-mini/coco2017-cc-mini.zip") as archive:
        archive.extractall(tmp_path)
    files = {s: tmp_path / f"annotations/instances_{s}2017.json" for s in ("train", "val")}
    sets = [read_coco(tmp_path / f"{s}2017", f, crowds=True) for s, f in files.items()]
    assert [len(s) for s in sets] == [24, 16]
    assert [sum(len(i.boxes) for i in s.samples) for s in sets] == [179, 101]
    assert len(sets[0].classes) == 80
