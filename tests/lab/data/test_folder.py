from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, ImageData, load_data
from rfaconv.lab.data import folder as folder_module
from rfaconv.lab.looking import look

Make = Callable[..., Path]


def read(path: Path, **options: object) -> ImageData:
    return load_data(DataSpec(f"folder:{path}", image_size=8, **options))  # type: ignore[arg-type]


def test_train_and_val(folder: Make) -> None:
    root = folder({"train": {"cat": 3, "dog": 4}, "val": {"cat": 1, "dog": 2}})
    data = read(root)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert data.val.labels.tolist() == [0, 1, 1]
    images, _ = data.val.__getitems__([0, 2])
    assert images.shape == (2, 3, 8, 8)
    assert images.dtype == torch.uint8


def test_one_folder_is_split_by_the_seed(folder: Make) -> None:
    root = folder({"": {"cat": 10, "dog": 5}})
    first, again, other = read(root), read(root), read(root, split_seed=1)
    assert (len(first.train), len(first.val)) == (12, 3)
    assert first.digest == again.digest
    assert first.digest != other.digest
    assert torch.bincount(first.val.labels).tolist() == [2, 1]


def test_pixels_are_those_of_the_file(folder: Make) -> None:
    root = folder({"": {"a": 2, "b": 2}})
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for file in root.rglob("*.png"):
        Image.fromarray(pixels).save(file)
    images, _ = read(root).train.__getitems__([0])
    assert torch.equal(images[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_decoded_anew_where_memory_is_short(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"": {"a": 4, "b": 3}})
    kept = read(root)
    monkeypatch.setattr(folder_module, "MEMORY_LIMIT", 0)
    streamed = read(root)
    assert type(streamed.train) is not type(kept.train)
    for ours, theirs in zip(
        streamed.train.__getitems__([1, 0]), kept.train.__getitems__([1, 0]), strict=True
    ):
        assert torch.equal(ours, theirs)


def damage(root: Path) -> tuple[Path, Path]:
    text, cut = root / "train" / "cat" / "0.png", root / "val" / "dog" / "1.png"
    text.write_text("this is no image", encoding="utf-8")
    cut.write_bytes(cut.read_bytes()[:150])
    return text, cut


def test_damaged_files_are_named_and_left_out(folder: Make) -> None:
    root = folder({"train": {"cat": 3, "dog": 4}, "val": {"cat": 1, "dog": 2}})
    text, cut = damage(root)
    data = read(root)
    assert [item.path for item in data.skipped] == [text, cut]
    assert data.skipped[0].reason == "not an image"
    assert (len(data.train), len(data.val)) == (6, 2)


def test_damaged_files_are_an_error_if_strict(folder: Make) -> None:
    root = folder({"train": {"cat": 3, "dog": 4}, "val": {"cat": 1, "dog": 2}})
    text, _ = damage(root)
    with pytest.raises(InvalidArgument, match=r"data: expected images that can be decoded") as info:
        read(root, strict=True)
    assert str(text) in str(info.value)


def test_a_class_with_damaged_files_only(folder: Make) -> None:
    root = folder({"train": {"cat": 1, "dog": 4}, "val": {"cat": 1, "dog": 2}})
    (root / "train" / "cat" / "0.png").write_text("no image", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="'cat' in the train part"):
        read(root)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": {"cat": 2, "dog": 0}, "val": {"cat": 1, "dog": 1}}, "an image in class folder"),
        ({"": {"cat": 2, "dog": 1}}, "2 images or more to split in class folder .*dog, got 1"),
        ({"": {"cat": 2}}, "two or more class folders"),
        ({"train": {"cat": 2, "dog": 2}}, r"train/ and val/ in .* got only train/"),
        (
            {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "cow": 1}},
            r"the same classes in train/ and val/ .* no 'cow' in train/",
        ),
    ],
)
def test_bad_folders(folder: Make, parts: dict[str, dict[str, int]], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read(folder(parts))


def test_missing_and_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"nowhere \(does not exist\)"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"file \(not a folder\)"):
        read(tmp_path / "file")


def test_shards_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match=r"folder:PATH .* shards are read no more"):
        DataSpec("webdataset:somewhere")


def test_unreadable_folder(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"": {"cat": 2, "dog": 2}})

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InvalidArgument, match=r"a folder that can be read, got .*Permission"):
        read(root)


@pytest.mark.parametrize(
    ("train", "val"),
    [("Train", "Val"), ("training", "validation"), ("train", "valid"), ("TRAIN", "test")],
)
def test_other_names_of_the_parts(train: str, val: str, folder: Make) -> None:
    root = folder({train: {"cat": 3, "dog": 2}, val: {"cat": 1, "dog": 1}, "other": {"cat": 1}})
    data = read(root)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.val)) == (5, 2)
    assert f"to train on in {train}/, 2 to validate in {val}/" in look(root).said


def test_links_in_a_circle_and_what_archives_leave(folder: Make) -> None:
    root = folder({"": {"cat": 3, "dog": 2}})
    for name in ("cat/self.png", "cat/self", "self"):
        (root / name).symlink_to((root / name).name)
    (root / "__MACOSX/cat").mkdir(parents=True)
    (root / "__MACOSX/cat/._0.png").write_bytes(b"resource")
    data = read(root)
    assert data.classes == ("cat", "dog")
    assert sorted((s.path.name, s.reason) for s in data.skipped) == [
        ("self", "a link to nothing"), ("self.png", "a link to nothing"),
    ]  # fmt: skip
