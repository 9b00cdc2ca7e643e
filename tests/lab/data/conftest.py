from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, seed: int, size: tuple[int, int] = (20, 14)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of classes; counts per class, in parts train/val or in one."""

    def make(parts: dict[str, dict[str, int]]) -> Path:
        root = tmp_path / "images"
        for part, classes in parts.items():
            for name, count in classes.items():
                place = root / part / name
                place.mkdir(parents=True, exist_ok=True)
                for index in range(count):
                    write_image(place / f"{index}.png", seed=index)
        return root

    return make
