from __future__ import annotations

import io
import sys
import types

import pytest
from PIL import Image, UnidentifiedImageError

from rfaconv.data.pictures import open_picture


def test_a_replaced_open_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ultralytics does it: its function would install a package to read a damaged file."""

    def installs(*args: object) -> Image.Image:
        raise AssertionError("the replaced function was called")

    patches = types.ModuleType("ultralytics.utils.patches")
    patches._image_open = Image.open  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics.utils.patches", patches)
    monkeypatch.setattr(Image, "open", installs)
    with pytest.raises(UnidentifiedImageError):
        open_picture(io.BytesIO(b"no picture"))
