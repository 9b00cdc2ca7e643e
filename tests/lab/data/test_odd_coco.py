"""COCO as people have it: odd names, encodings, links, labels; read right, or named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_images import HIGH, WIDE, image

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.coco import read_coco


def coco(root: Path, **parts: object) -> Path:
    names = ("a.jpg", "b.jpg")
    for name in names:
        image(root / name)
    content = {
        "categories": [{"id": 10, "name": "ten"}, {"id": 9, "name": "nine"}],
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [{"image_id": 0, "category_id": 9, "bbox": [1, 2, 8, 6]}],
        **parts,
    }
    path = root / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


ROUND = [(1.0, 2.0, 9.0, 8.0)]


def test_coco_ids_as_strings(tmp_path: Path) -> None:
    path = coco(
        tmp_path,
        categories=[{"id": "10", "name": "ten"}, {"id": "9", "name": "nine"}],
        annotations=[{"image_id": "0", "category_id": 9, "bbox": ["1", 2, 8, 6]}],
    )
    found = read_coco(tmp_path, path, strict=True)
    assert found.classes == ("nine", "ten")
    assert [list(s.boxes) for s in found.samples] == [ROUND, []]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_coco_encodings(encoding: str, tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert list(read_coco(tmp_path, path, strict=True).samples[0].boxes) == ROUND


@pytest.mark.parametrize("empty", [{}, {"bbox": []}, {"bbox": None}, {"bbox": [1, 2]}])
@pytest.mark.parametrize("polygon", [None, [[1, 2, 9, 2, 9, 8]], {"counts": "x", "size": [3, 4]}])
def test_coco_without_a_box(empty: dict, polygon: object, tmp_path: Path) -> None:
    note = {"id": 7, "image_id": 0, "category_id": 9, "segmentation": polygon, **empty}
    good = {"image_id": 1, "category_id": 10, "bbox": [1, 2, 8, 6]}
    found = read_coco(tmp_path, coco(tmp_path, annotations=[note, good]))
    assert list(found.samples[1].boxes) == ROUND
    if isinstance(polygon, list):
        assert list(found.samples[0].boxes) == ROUND and not found.problems
    else:
        assert "annotation 7 has neither box nor polygon" in str(found.problems[0])


def test_coco_names(tmp_path: Path) -> None:
    image(tmp_path / "sub" / "my pic.png")
    image(tmp_path / "upper.PNG")
    image(tmp_path / "unnamed.png")
    images = [
        {"id": 1, "file_name": "sub\\my pic.png"},
        {"id": 2, "file_name": "upper.png", "width": WIDE, "height": HIGH},
        {"id": 3, "file_name": "a.jpg", "width": HIGH, "height": WIDE},
        {"id": 4, "file_name": "upper.PNG"},
    ]
    notes = [{"id": 5, "image_id": 99, "category_id": 9, "bbox": [1, 2, 8, 6]}]
    found = read_coco(tmp_path, coco(tmp_path, images=images, annotations=notes))
    assert [s.image.name for s in found.samples] == ["my pic.png", "upper.PNG"]
    assert [p.kind for p in found.problems] == [
        "unknown image", "size differs", "bad label", "missing label", "missing label",
    ]  # fmt: skip
    assert {p.path.name for p in found.problems[-2:]} == {"b.jpg", "unnamed.png"}


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 0.0, "category_id": 9.0}, {"iscrowd": "0"}, {"iscrowd": False},
        {"iscrowd": None},
    ],
)  # fmt: skip
def test_coco_numbers_in_other_forms(change: dict, tmp_path: Path) -> None:
    note = {"image_id": 0, "category_id": 9, "bbox": [1, 2, 8, 6], **change}
    found = read_coco(tmp_path, coco(tmp_path, annotations=[note]), strict=True)
    assert list(found.samples[0].boxes) == ROUND


def test_coco_ids_that_are_not_one_s_own(tmp_path: Path) -> None:
    image(tmp_path / "c.jpg")
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in ((1, "a"), (1, "b"), (2, "c"))]
    notes = [{"image_id": n, "category_id": 9, "bbox": [1, 2, 8, 6]} for n in (1, 2)]
    found = read_coco(tmp_path, coco(tmp_path, images=images, annotations=notes))
    # nobody knows whether the first box is of a or of b
    assert [(s.image.name, list(s.boxes)) for s in found.samples] == [("c.jpg", ROUND)]
    assert "image id 1 is of a.jpg and of b.jpg" in str(found.problems[0])
    double = [{"id": 9, "name": "nine"}, {"id": 9, "name": "ten"}]
    with pytest.raises(InvalidArgument, match="two categories of id 9"):
        read_coco(tmp_path, coco(tmp_path, categories=double))


@pytest.mark.parametrize("entry", [{"file_name": "x" * 5000}, {"width": float("inf"), "height": 3}])
def test_coco_entries_that_no_system_has(entry: dict, tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg", **entry}]
    found = read_coco(tmp_path, coco(tmp_path, images=images))
    assert list(found.samples[0].boxes) == ROUND


def test_coco_images_of_another_split_in_the_same_folder(tmp_path: Path) -> None:
    train = coco(tmp_path, images=[{"id": 0, "file_name": "a.jpg"}])
    val = coco(tmp_path, images=[{"id": 0, "file_name": "b.jpg"}]).rename(tmp_path / "val.json")
    train = coco(tmp_path, images=[{"id": 0, "file_name": "a.jpg"}])
    for path in (train, val):
        assert len(read_coco(tmp_path, path, strict=True)) == 1
    image(tmp_path / "c.jpg")
    with pytest.raises(DataProblem, match=r"c\.jpg: missing label"):
        read_coco(tmp_path, val, strict=True)


@pytest.mark.parametrize("content", ["", "[]", "null", "[" * 100_000, '{"images": 3}', "\udcff"])
def test_coco_damaged(content: str, tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidArgument, match="annotations: expected") as caught:
        read_coco(tmp_path, path)
    assert "\n" not in str(caught.value)
