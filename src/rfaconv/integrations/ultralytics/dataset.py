"""Data sets of boxes in the form that ultralytics reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rfaconv.detection.samples import DetectionSet
from rfaconv.files import write_atomic


def write_dataset(sets: Mapping[str, DetectionSet], folder: Path | str) -> Path:
    """Writes label files and a data YAML for ``YOLO(...).train(data=...)``.

    Pictures are linked, not copied.

    Args:
        sets: a set for ``train`` and for ``val``, with the same classes; ``test`` if there is one.
        folder: where to.

    Returns:
        The data YAML.
    """
    import yaml

    folder = Path(folder).resolve()
    for split, pictures in sets.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for sample in pictures.samples:
            link = folder / "images" / split / sample.image.name
            if not link.exists():
                os.symlink(sample.image.resolve(), link)
            width, height = sample.size
            lines = []
            for label, (x1, y1, x2, y2) in zip(sample.labels, sample.boxes, strict=True):
                numbers = (
                    (x1 + x2) / 2 / width,
                    (y1 + y2) / 2 / height,
                    (x2 - x1) / width,
                    (y2 - y1) / height,
                )
                lines.append(" ".join([str(label), *(f"{n:.6f}" for n in numbers)]) + "\n")
            write_atomic(folder / "labels" / split / f"{sample.image.stem}.txt", "".join(lines))
    classes = next(iter(sets.values())).classes
    content = {
        "path": str(folder),
        **{split: f"images/{split}" for split in sets},
        "names": dict(enumerate(classes)),
    }
    target = folder / "data.yaml"
    write_atomic(target, yaml.safe_dump(content, sort_keys=False))
    return target
