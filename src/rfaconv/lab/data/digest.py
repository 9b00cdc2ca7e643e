"""A name of what a training reads: equal images and labels, equal name, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

BLOCK = 1 << 14
"""Bytes that are read at the beginning, in the middle and at the end of a large image."""
_MARK = "content-"


def content_of(path: Path, whole: bool = False) -> str:
    """A name of a file's content; without ``whole`` of three blocks where it has more than that.

    100,000 images are 5 GB at most then, which is seconds beside decoding them, on a slow disk too.
    Another picture, and one that was saved anew, differs in them: compressed pixels go on to the
    end, and PNG ends in a sum over all. A few pixels of an uncompressed image may be changed
    unseen; labels and masks, of which few pixels count, are read whole.
    """
    sha, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if whole or size <= 3 * BLOCK:
            sha.update(file.read())
        else:
            for place in (0, (size - BLOCK) // 2, size - BLOCK):
                file.seek(place)
                sha.update(file.read(BLOCK))
    return sha.hexdigest()


def image_stamp(path: Path, name: str | None = None) -> tuple[str, int, str]:
    """What stands for an image: its name, its size, its content."""
    return name or path.name, path.stat().st_size, content_of(path)


def digest_of(classes: Sequence[str], train: Iterable[object], val: Iterable[object]) -> str:
    """The digest of a data set, by its classes and what stands for each image and its labels."""
    sha = hashlib.sha256()
    for entry in (tuple(classes), *train, "val", *val):
        sha.update(f"{entry!r}\n".encode())
    return _MARK + sha.hexdigest()[:16]


def same_data(known: str, now: str) -> bool:
    """Whether a digest that was written down is of these data.

    Earlier versions went by names and sizes; such a digest says nothing here, and is accepted.
    """
    return known == now or (now.startswith(_MARK) and not known.startswith(_MARK))
