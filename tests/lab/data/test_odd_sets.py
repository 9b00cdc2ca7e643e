"""A folder of everything that people leave in one."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_images import image

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, load_data


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
