"""Data sets as people have them: odd names, encodings, links, labels; read right, or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data import DataSpec, load_data
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.coco import read_coco
from rfaconv.lab.data.masks import IGNORED, read_masks, read_voc_masks
from rfaconv.lab.data.voc import read_voc, read_voc_tree
from rfaconv.lab.data.yolo.reading import read_yolo
from rfaconv.lab.looking import look
from rfaconv.lab.recipes import read_recipe

WIDE, HIGH = 40, 30


def image(path: Path, turned: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
            ".jp2": "JPEG2000"}.get(path.suffix.lower(), "PNG")  # fmt: skip
    Image.new("RGB", (WIDE, HIGH), (9, 90, 30)).save(
        path, kind, **({"exif": exif} if turned else {})
    )
    return path


# VOC


def label(root: Path, stem: str, objects: str, size: tuple[int, int] | None = None) -> Path:
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    path = root / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{text}{objects}</annotation>", encoding="utf-8")
    return path


def listed(root: Path, content: bytes, kind: str = "Main") -> Path:
    (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / kind / "train.txt").write_bytes(content)
    return root


BOX = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
CELL = f"<object><name>cell</name>{BOX}</object>"
AROUND = (1.0, 2.0, 9.0, 8.0)


@pytest.mark.parametrize("suffix", [".JPG", ".JPEG", ".tif", ".jfif", ".Png", ".jp2"])
@pytest.mark.parametrize("stem", ["a", "my pic", "a.b", "wörld", "x 1"])
def test_voc_names(suffix: str, stem: str, tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages" / f"{stem}{suffix}")
    label(tmp_path, stem, CELL)
    found = read_voc(listed(tmp_path, f"{stem}\n".encode()), "train", strict=True)
    assert [s.boxes for s in found.samples] == [(AROUND,)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "  1\n", " -1\r\n", ".png\n"])
def test_voc_lists(encoding: str, end: str, tmp_path: Path) -> None:
    for stem in ("my pic", "other"):
        image(tmp_path / "JPEGImages" / f"{stem}.png")
        label(tmp_path, stem, CELL)
    names = f"my pic{end}other{end}\n".encode(encoding)
    if end == ".png\n":  # names of files
        (tmp_path / "Annotations" / "my pic.xml").rename(
            tmp_path / "Annotations" / "my pic.png.xml"
        )
        (tmp_path / "Annotations" / "other.xml").rename(tmp_path / "Annotations" / "other.png.xml")
    found = read_voc(listed(tmp_path, names), "train", strict=True)
    assert [s.image.stem for s in found.samples] == ["my pic", "other"]


def test_a_list_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    listed(tmp_path, "wörld\n".encode("latin-1"))
    with pytest.raises(InvalidArgument, match="split: expected a text file in UTF-8 or UTF-16"):
        read_voc(tmp_path, "train")


POLYGON = "<polygon><x1>2</x1><y1>3</y1><x2>9</x2><y2>3</y2><x3>5</x3><y3>8</y3></polygon>"
POINTS = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((2, 3), (9, 3), (5, 8)))
TURNED = "<robndbox><cx>10</cx><cy>10</cy><w>8</w><h>4</h><angle>1.5707963</angle></robndbox>"


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (POLYGON, (2, 3, 9, 8)),
        (f"<polygon>{POINTS}</polygon>", (2, 3, 9, 8)),
        (TURNED, (8, 6, 12, 14)),
    ],
)
def test_voc_shapes_have_the_box_around_them(
    shape: str, box: tuple[float, ...], tmp_path: Path
) -> None:
    image(tmp_path / "JPEGImages/a.jpg")
    label(tmp_path, "a", f"<object><name>cell</name>{shape}</object>{CELL}", (WIDE, HIGH))
    found = read_voc(listed(tmp_path, b"a"), "train", strict=True)
    assert found.samples[0].boxes[0] == pytest.approx(box)
    assert found.samples[0].boxes[1] == AROUND


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("<object><name>cell</name></object>", "cell: neither box nor polygon"),
        (f"<object>{BOX}</object>", "an object of no name"),
        (CELL.replace("9", "nine"), "could not convert string"),
        (f"<object><name>cell</name>{BOX.replace('9', 'nan')}</object>", "box of no size"),
    ],
)
def test_voc_a_bad_object_leaves_the_others(bad: str, reason: str, tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages/a.jpg")
    label(tmp_path, "a", bad + CELL)
    found = read_voc(listed(tmp_path, b"a"), "train")
    assert found.samples[0].boxes == (AROUND,)
    assert reason in str(found.problems[0])
    with pytest.raises(DataProblem):
        read_voc(tmp_path, "train", strict=True)


def test_boxes_of_another_size_are_named(tmp_path: Path) -> None:
    for stem, turned, size in (
        ("upright", True, (HIGH, WIDE)), ("raw", True, (WIDE, HIGH)), ("twice", False, (80, 60)),
        ("unknown", False, (0, 0)),
    ):  # fmt: skip
        image(tmp_path / f"JPEGImages/{stem}.jpg", turned)
        label(tmp_path, stem, CELL, size)
    found = read_voc(listed(tmp_path, b"upright\nraw\ntwice\nunknown\n"), "train")
    assert [s.image.stem for s in found.samples] == ["upright", "unknown"]
    assert [p.kind for p in found.problems] == ["size differs"] * 2
    assert "as it is stored" in str(found.problems[0])


def test_voc_lists_that_name_an_image_twice(tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages/a.jpg")
    label(tmp_path, "a", CELL)
    found = read_voc(listed(tmp_path, b"a\na\n"), "train")
    assert len(found) == 1 and "a twice" in str(found.problems[0])


def test_voc_without_lists(tmp_path: Path) -> None:
    """Images of one name in several folders each have their own boxes."""
    for folder in ("one", "two"):
        image(tmp_path / f"JPEGImages/{folder}/a.jfif")
        label(tmp_path, f"{folder}/a", CELL.replace("cell", folder))
    image(tmp_path / "beside/a.png")
    label(tmp_path, "a", f"<object><name>three</name>{POLYGON}</object>").rename(
        tmp_path / "beside/a.xml"
    )
    found = read_voc_tree(tmp_path, strict=True)
    assert found.classes == ("one", "three", "two")
    places = {str(s.image.relative_to(tmp_path)): (s.labels, s.boxes) for s in found.samples}
    assert places == {
        "JPEGImages/one/a.jfif": ((0,), (AROUND,)), "JPEGImages/two/a.jfif": ((2,), (AROUND,)),
        "beside/a.png": ((1,), ((2, 3, 9, 8),)),
    }  # fmt: skip
    label(tmp_path, "a", CELL)
    image(tmp_path / "._b.png")
    image(tmp_path / "b.png")
    problems = [str(problem) for problem in read_voc_tree(tmp_path).problems]
    assert ["of several images" in problems[0], "b.png: missing label" in problems[1]] == [True] * 2
    assert len(problems) == 2


# YOLO


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


# COCO


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


# masks


def masks(root: Path, *values: np.ndarray, suffix: str = ".png") -> tuple[Path, Path]:
    for number, mask in enumerate(values):
        image(root / "images" / f"{number}.jpg")
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}{suffix}")
    return root / "images", root / "masks"


def square(value: int, background: int = 0) -> np.ndarray:
    mask = np.full((HIGH, WIDE), background, np.uint8)
    mask[5:15, 10:30] = value
    return mask


def test_masks_of_0_and_255_alone_have_two_classes(tmp_path: Path) -> None:
    found = read_masks(*masks(tmp_path, square(255), square(0)), ("ground", "crack"), strict=True)
    assert found.binary
    assert found[0][1].unique().tolist() == [0, 1]
    assert int((found[0][1] == 1).sum()) == 200


@pytest.mark.parametrize(
    ("classes", "others"), [(("ground", "crack"), [square(1)]), (("a", "b", "c"), [])]
)
def test_masks_whose_objects_are_all_ignored_are_named(
    classes: tuple[str, ...], others: list[np.ndarray], tmp_path: Path
) -> None:
    folders = masks(tmp_path, square(255), *others)
    found = read_masks(*folders, classes)
    assert ["all 200 pixels of objects have value 255" in p for p in found.problems] == [True]
    assert found[0][1].unique().tolist() == [0, IGNORED]
    with pytest.raises(RFAConvError, match="which is ignored"):
        read_masks(*folders, classes, strict=True)


def test_borders_of_255_are_no_problem(tmp_path: Path) -> None:
    bordered = square(1)
    bordered[4] = 255
    found = read_masks(*masks(tmp_path, bordered, square(2)), ("a", "b", "c"), strict=True)
    assert not found.problems


def colours(path: Path) -> None:
    Image.new("RGB", (WIDE, HIGH), (0, 0, 128)).save(path)


def lossy(path: Path) -> None:
    Image.fromarray(square(1)).save(path.with_suffix(".jpg"))
    path.unlink()


def other_size(path: Path) -> None:
    Image.fromarray(square(1)[:, :20]).save(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (colours, r"colours such as \(0, 0, 128\)"),
        (lossy, r"1\.jpg: a JPEG, which changes"),
        (other_size, r"\(20, 30\) pixels, the image has \(40, 30\)"),
        (Path.unlink, r"1\.png: no such file"),
        (lambda path: path.write_bytes(b""), r"1\.png: not an image"),
        (lambda path: image(path.parent.parent / "images/1.jpg", True), "before it is turned"),
        (lambda path: path.rename(path.with_name("elsewhere.png")), r"elsewhere\.png: no image"),
        (lambda path: Image.fromarray(square(7)).save(path), "200 pixels of value 7"),
        (lambda path: Image.fromarray(square(0).astype("uint16") + 700).save(path), "value 700"),
    ],
)
def test_a_bad_mask_is_named(spoil: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    folders = masks(tmp_path, square(1), square(1))
    spoil(tmp_path / "masks" / "1.png")
    found = read_masks(*folders, ("a", "b"))
    assert any(__import__("re").search(reason, p) for p in found.problems), found.problems
    with pytest.raises(RFAConvError):
        read_masks(*folders, ("a", "b"), strict=True)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".gif", ".PNG"])
def test_masks_of_other_kinds(suffix: str, tmp_path: Path) -> None:
    found = read_masks(*masks(tmp_path, square(1), suffix=suffix), ("a", "b"), strict=True)
    assert found[0][1].unique().tolist() == [0, 1]


def test_numbers_of_objects_are_no_classes(tmp_path: Path) -> None:
    """They came out modulo 256."""
    folders = masks(tmp_path, square(1).astype(np.uint16) * 600)
    with pytest.raises(InvalidArgument, match="path: expected masks with a class number below 255"):
        look(tmp_path)
    with pytest.raises(InvalidArgument, match="classes: expected 255 at most"):
        read_masks(*folders, [str(n) for n in range(700)])
    assert len(read_masks(*folders, [str(n) for n in range(255)])) == 1


def test_voc_masks_of_photos_in_any_format(tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages" / "my pic.PNG")
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(square(1)).save(tmp_path / "SegmentationClass" / "my pic.png")
    listed(tmp_path, "my pic\n".encode("utf-16"), "Segmentation")
    assert len(read_voc_masks(tmp_path, "train", ("a", "b"), strict=True)) == 1
    listed(tmp_path, b"my pic\nmy pic\n", "Segmentation")
    found = read_voc_masks(tmp_path, "train", ("a", "b"))
    assert len(found) == 1 and "my pic twice" in found.problems[0]


# folders of classes


def test_folder_of_everything(tmp_path: Path) -> None:
    for name in ("cat/one.jpg", "cat/deep/er/two.JFIF", "cat/deep/three.jp2", "dog/four.tif"):
        image(tmp_path / name)
    image(tmp_path / "dog" / "five.png").rename(tmp_path / "dog" / "five")
    (tmp_path / "dog" / "link.png").symlink_to("nowhere.png")
    (tmp_path / "dog" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "dog" / "notes.txt").write_text("none", encoding="utf-8")
    (tmp_path / "cat" / "round").symlink_to(tmp_path / "cat", target_is_directory=True)
    data = load_data(DataSpec(f"folder:{tmp_path}", image_size=8))
    assert len(data.train) + len(data.val) == 5
    assert sorted((s.path.name, s.reason) for s in data.skipped) == [
        ("link.png", "a link to nothing"), ("photo.heic", "not an image"),
    ]  # fmt: skip
    with pytest.raises(InvalidArgument, match="images alone"):
        load_data(DataSpec(f"folder:{tmp_path}", image_size=8, strict=True))
