"""Pascal VOC folders: images, XML files and lists of names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rfaconv.decoding import has_image_suffix
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.boxes import Box, Collector, DetectionSet, around
from rfaconv.lab.data.lookup import Files, read_names


@dataclass
class _Label:
    """What an XML file says."""

    path: Path
    kind: str = ""
    reason: str = ""
    size: tuple[int, int] | None = None
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def read_voc(
    root: Path | str, split: str, classes: Sequence[str] | None = None, *, strict: bool = False
) -> DetectionSet:
    """Reads ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/SPLIT.txt`` below ``root``.

    Without a split it is all XML files, as of :func:`read_voc_tree`.

    An object with a polygon or a turned box alone has the upright box around it. Problems (a
    missing or damaged file, a box of no size or outside the image, an unknown class) are named in
    ``problems`` of the result and passed over.

    Args:
        root: the folder that holds the three.
        split: ``train``, ``val``, ``trainval`` or ``test``: the name of a list; or empty.
        classes: names; None takes those of the whole split in alphabetical order.
        strict: a problem is an error.

    Raises:
        InvalidArgument: ``root`` has no such list, or it cannot be read.
        DataProblem: with ``strict``, the first problem; or no image is left.
    """
    if not split:
        return read_voc_tree(root, classes, strict=strict)
    root = Path(root)
    names = root / "ImageSets" / "Main" / f"{split}.txt"
    if not names.is_file():
        found = sorted(path.stem for path in names.parent.glob("*.txt"))
        expected = f"one of {', '.join(found)}" if found else f"a file {names}"
        raise InvalidArgument("split", expected, repr(split))
    images = Files(root / "JPEGImages")
    labels = Files(root / "Annotations", _is_xml)
    stems, twice = read_names(names, lambda name: bool(images.named(name) or labels.named(name)))
    parsed = [_read(labels.named(stem) or labels.folder / f"{stem}.xml") for stem in stems]
    files = [images.named(stem) or images.folder / f"{stem}.jpg" for stem in stems]
    collector = _collected(zip(files, parsed, strict=True), classes, strict)
    for stem in twice:
        collector.note("bad label", names, f"{stem} twice")
    return collector.result()


def read_voc_tree(
    root: Path | str, classes: Sequence[str] | None = None, *, strict: bool = False
) -> DetectionSet:
    """Reads all XML files below ``root``, each with the image of its name, without lists.

    Of several images of one name it is the one in the same folder, or else in a folder below
    another that is called alike (``Annotations/a/1.xml`` and ``JPEGImages/a/1.jpg``), or below
    ``JPEGImages``. Problems are as of :func:`read_voc`; an image without an XML file is one.

    Args:
        root: the folder.
        classes: as of :func:`read_voc`.
        strict: a problem is an error.

    Raises:
        DataProblem: as of :func:`read_voc`.
    """
    root = Path(root)
    # a data set for YOLO that was written into the folder is another one
    others = [path.parent for path in root.rglob("data.yaml") if path.parent != root]
    files = [
        path
        for path in sorted(root.rglob("*"))
        if not path.name.startswith(".") and not any(map(path.is_relative_to, others))
    ]
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if has_image_suffix(path):
            images[path.stem].append(path)
    used: set[Path] = set()
    pairs = []
    labels = list(filter(_is_xml, files))
    owned = {path.with_suffix("") for path in labels}
    for path in labels:
        label = _read(path)
        found = [image for image in images[path.stem] if image.parent == path.parent] or [
            image for image in images[path.stem] if image.with_suffix("") not in owned
        ]
        if len(found) > 1:
            below = path.relative_to(root).parts[1:-1]
            alike = [image for image in found if image.relative_to(root).parts[1:-1] == below]
            found = alike or found
            # what was drawn on the images may lie in another folder
            found = [i for i in found if "JPEGImages" in i.relative_to(root).parts] or found
        if len(found) > 1 and len({image.parent for image in found}) > 1:
            label = _Label(path, "bad label", f"of several images: {found[0]}, {found[1]}")
        used.update(found)
        pairs.append((found[0] if found else path.with_suffix(".jpg"), label))
    collector = _collected(pairs, classes, strict)
    for path in (path for found in images.values() for path in found if path not in used):
        collector.note("missing label", path, f"no {path.stem}.xml")
    return collector.result()


def voc_root(path: Path) -> Path | None:
    """The folder of Pascal VOC that a folder is or holds, by its XML files; None where it is none.

    They lie in ``Annotations``, or beside the images.
    """
    found = any(_xml_in(path / name) for name in ("Annotations", "annotations"))
    if found or any(map(_is_annotation, _xml_in(path))):
        return path
    below = [folder.parent for folder in sorted(path.glob("*/Annotations")) if _xml_in(folder)]
    return below[0] if len(below) == 1 else None


def voc_lists(root: Path) -> list[str]:
    """The names of the lists of images with boxes; none where the folders they are of are not."""
    whole = (root / "JPEGImages").is_dir() and (root / "Annotations").is_dir()
    return sorted(p.stem for p in (root / "ImageSets" / "Main").glob("*.txt")) if whole else []


def _xml_in(folder: Path) -> list[Path]:
    return Files(folder, _is_xml).paths


def _is_annotation(path: Path) -> bool:
    try:
        return ElementTree.parse(path).getroot().tag == "annotation"
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return False


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _collected(
    pairs: Iterable[tuple[Path, _Label]], classes: Sequence[str] | None, strict: bool
) -> Collector:
    """Checks images with what their XML files say."""
    pairs = list(pairs)
    if classes is None:
        classes = sorted({name for _, label in pairs for name, _ in label.boxes})
    collector = Collector(classes, strict)
    for image, label in pairs:
        if label.kind:
            collector.note(label.kind, label.path, label.reason)
            continue
        for reason in label.bad:
            collector.note("bad box", label.path, reason)
        collector.add(image, label.path, label.boxes, label.size)
    return collector


def _read(path: Path) -> _Label:
    if not path.is_file():
        return _Label(path, "missing label", f"of image {path.stem}")
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        return _Label(path, "bad label", " ".join(str(error).split()))
    label = _Label(path, size=_size(tree))
    for entry in tree.iter("object"):
        name = (entry.findtext("name") or "").strip()
        try:
            box = _box(entry)
        except (TypeError, ValueError) as error:
            label.bad.append(f"{name or 'an object'}: {error}")
            continue
        if name and box is not None:
            label.boxes.append((name, box))
        else:
            label.bad.append(f"{name}: neither box nor polygon" if name else "an object of no name")
    return label


def _size(tree: Element) -> tuple[int, int] | None:
    try:
        size = (int(float(tree.findtext("size/width") or 0)),
                int(float(tree.findtext("size/height") or 0)))  # fmt: skip
    except (ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def _box(entry: Element) -> Box | None:
    corners = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    if all(text is not None for text in corners):
        x1, y1, x2, y2 = (float(text or "") for text in corners)
        # VOC counts pixels from 1, both ends inside; a box of pixel n alone is [n - 1, n)
        size = (x2 > x1) and (y2 > y1)
        return (x1 - 1, y1 - 1, x2, y2) if size else (x1, y1, x2, y2)
    turned = [entry.findtext(f"robndbox/{key}") for key in ("cx", "cy", "w", "h", "angle")]
    if all(text is not None for text in turned):
        x, y, w, h, angle = (float(text or "") for text in turned)
        wide = abs(w * math.cos(angle)) + abs(h * math.sin(angle))
        high = abs(w * math.sin(angle)) + abs(h * math.cos(angle))
        return (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    points = list(_points(entry))
    return around(points) if len(points) >= 6 else None


def _points(entry: Element) -> Iterator[float]:
    """Corners of a polygon: ``pt`` or ``point`` with x and y, or x1, y1, x2, y2 and so on."""
    polygon = next((found for name in ("polygon", "segmentation")
                    if (found := entry.find(name)) is not None), None)  # fmt: skip
    if polygon is None:
        return
    for point in [*polygon.iter("pt"), *polygon.iter("point")]:
        yield from (float(point.findtext(name) or "") for name in ("x", "y"))
    number = 1
    while (x := polygon.findtext(f"x{number}")) and (y := polygon.findtext(f"y{number}")):
        yield from (float(x), float(y))
        number += 1
