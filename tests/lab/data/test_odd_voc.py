"""Pascal VOC as people have it: odd names, encodings, links, labels; read right, or named."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_images import HIGH, WIDE, image, listed

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import DataProblem
from rfaconv.lab.data.voc import read_voc, read_voc_tree


def label(root: Path, stem: str, objects: str, size: tuple[int, int] | None = None) -> Path:
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    path = root / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{text}{objects}</annotation>", encoding="utf-8")
    return path


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
