"""Pictures with labels as a YOLO data set holds them, whatever they were read from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rfaconv.files import free_name
from rfaconv.lab.data.boxes import DetectionSet, around

Row = tuple[int, tuple[float, ...]]
"""A class and its numbers in [0, 1]: centre and size of a box, or the points of a polygon."""


@dataclass(frozen=True)
class Labelled:
    """One picture and its rows of labels."""

    image: Path
    rows: tuple[Row, ...]


@dataclass
class Source:
    """What was read from a folder of labelled images.

    Attributes:
        classes: names.
        splits: the pictures of ``train``, ``val`` and ``test``; ``""`` has what is not split yet.
        problems: what was passed over, one line each.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[Labelled]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def box_row(label: int, box: Sequence[float], size: tuple[int, int]) -> Row:
    """A row from corners in pixels and the picture's width and height."""
    x1, y1, x2, y2 = box
    width, height = size
    numbers = (
        (x1 + x2) / 2 / width,
        (y1 + y2) / 2 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
    )
    return label, numbers


def from_boxes(sets: Mapping[str, DetectionSet]) -> Source:
    """The pictures and problems of sets of boxes with the same classes."""
    source = Source(next(iter(sets.values())).classes)
    for split, pictures in sets.items():
        source.splits[split] = [
            Labelled(
                s.image,
                tuple(
                    box_row(label, box, s.size)
                    for label, box in zip(s.labels, s.boxes, strict=True)
                ),
            )
            for s in pictures.samples
        ]
        source.problems += [str(problem) for problem in pictures.problems]
    return source


def as_boxes(source: Source) -> Source:
    """The boxes around the polygons of a source."""
    splits = {
        split: [Labelled(p.image, tuple(_around(row) for row in p.rows)) for p in pictures]
        for split, pictures in source.splits.items()
    }
    return Source(source.classes, splits, source.problems)


def _around(row: Row) -> Row:
    label, numbers = row
    return box_row(label, around(numbers), (1, 1))


def split_off(source: Source, share: float) -> Source:
    """Gives a source without a ``val`` that share of its pictures, always the same ones.

    Which they are depends on the names alone, so that pictures that come later leave them in place.
    """
    splits = dict(source.splits)
    whole = [*splits.pop("", []), *splits.pop("train", [])]
    if "val" in splits:
        return Source(source.classes, {"train": whole, **splits}, source.problems)
    ranked = sorted(whole, key=lambda p: hashlib.sha256(p.image.name.encode()).hexdigest())
    count = max(1, round(len(ranked) * share)) if len(ranked) > 1 else 0
    chosen = {id(p) for p in ranked[:count]}
    train = [p for p in whole if id(p) not in chosen]
    val = [p for p in whole if id(p) in chosen]
    return Source(source.classes, {"train": train, "val": val, **splits}, source.problems)


def unique_names(files: Iterable[Path]) -> dict[Path, str]:
    """A name without ending for every file: its own, or with its folders where that is not enough.

    Example:
        >>> list(unique_names([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/2.png")]).values())
        ['a-1', 'b-1', '2']
    """
    files = list(dict.fromkeys(files))
    names = {file: file.stem for file in files}
    for depth in range(1, max((len(file.parts) for file in files), default=0) + 2):
        counts = Counter(name.casefold() for name in names.values())
        double = [file for file, name in names.items() if counts[name.casefold()] > 1]
        if not double:
            break
        for file in double:
            folders = [part for part in file.parts[:-1] if part != file.anchor][-depth:]
            names[file] = "-".join([*folders, file.stem])
            if depth > len(file.parts):  # a.jpg beside a.png
                names[file] += file.suffix.replace(".", "-")
    taken: set[str] = set()  # folders that differ in capital letters alone leave the same names
    return {file: free_name(name, taken) for file, name in names.items()}
