"""Images for odd data sets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

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


def listed(root: Path, content: bytes, kind: str = "Main") -> Path:
    (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / kind / "train.txt").write_bytes(content)
    return root
