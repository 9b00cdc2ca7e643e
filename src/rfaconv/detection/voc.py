"""Pascal VOC folders: pictures, XML files and lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rfaconv.detection.samples import Box, Collector, DetectionSet
from rfaconv.errors import InvalidArgument

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def read_voc(
    root: Path | str, split: str, classes: Sequence[str] | None = None, *, strict: bool = False
) -> DetectionSet:
    """Reads ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/SPLIT.txt`` below ``root``.

    Problems (a missing or damaged file, a box of no size or outside the picture, an unknown class)
    are named in ``problems`` of the result and passed over.

    Args:
        root: the folder that holds the three.
        split: ``train``, ``val``, ``trainval`` or ``test``: the name of a list.
        classes: names; None takes those of the whole split in alphabetical order.
        strict: a problem is an error.

    Raises:
        InvalidArgument: ``root`` has no such list.
        DataProblem: with ``strict``, the first problem; or no picture is left.
    """
    from torchvision.datasets import VOCDetection

    root = Path(root)
    names = root / "ImageSets" / "Main" / f"{split}.txt"
    if not names.is_file():
        found = sorted(path.stem for path in names.parent.glob("*.txt"))
        expected = f"one of {', '.join(found)}" if found else f"a file {names}"
        raise InvalidArgument("split", expected, repr(split))
    # VOC's class lists have a second column, 1 or -1
    stems = [
        line.split()[0] for line in names.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    parsed: list[tuple[str, Path, list[tuple[Any, Box]] | None, str]] = []
    for stem in stems:
        label = root / "Annotations" / f"{stem}.xml"
        try:
            tree = ElementTree.parse(label).getroot()
            objects = VOCDetection.parse_voc_xml(tree)["annotation"].get("object", [])
            parsed.append((stem, label, [_object(o) for o in objects], ""))
        except (OSError, ElementTree.ParseError, KeyError, ValueError, TypeError) as error:
            parsed.append((stem, label, None, "" if not label.exists() else repr(error)))
    if classes is None:
        classes = sorted({str(n) for _, _, boxes, _ in parsed if boxes for n, _ in boxes})
    collector = Collector(classes, strict)
    for stem, label, boxes, reason in parsed:
        if boxes is None:
            kind = "bad label" if reason else "missing label"
            collector.note(kind, label, reason or f"of picture {stem}")
            continue
        collector.add(_picture(root / "JPEGImages", stem), label, boxes)
    return collector.result()


def _object(entry: dict[str, Any]) -> tuple[str, Box]:
    box = entry["bndbox"]
    x1, y1, x2, y2 = (float(box[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
    # VOC counts pixels from 1, both ends inside; a box of pixel n alone is [n - 1, n)
    size = (x2 > x1) and (y2 > y1)
    return str(entry["name"]), (x1 - 1, y1 - 1, x2, y2) if size else (x1, y1, x2, y2)


def _picture(folder: Path, stem: str) -> Path:
    for ending in _ENDINGS:
        path = folder / f"{stem}{ending}"
        if path.exists():
            return path
    return folder / f"{stem}.jpg"
