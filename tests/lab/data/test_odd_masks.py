"""Masks as people have them: odd names, encodings, links, labels; read right, or named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odd_images import HIGH, WIDE, image, listed
from PIL import Image

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.data.masks import IGNORED, read_masks, read_voc_masks
from rfaconv.lab.looking import look


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
