"""Data sets in the form that ultralytics reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rfaconv.errors import InvalidArgument
from rfaconv.files import make_folder, write_atomic
from rfaconv.lab.data.boxes import DetectionSet
from rfaconv.lab.data.yolo.labelled import Source, from_boxes, unique_names

_MARK = "# A YOLO data set that rfaconv wrote; writing it again replaces the folder."


def write_dataset(
    sets: Mapping[str, DetectionSet], folder: Path | str, *, link: bool = False
) -> Path:
    """Writes pictures, label files and a data YAML for ``YOLO(...).train(data=...)``.

    Args:
        sets: a set for ``train`` and for ``val``, with the same classes; ``test`` if there is one.
        folder: where to; as of :func:`write_source`.
        link: as of :func:`write_source`.

    Returns:
        The data YAML.

    Raises:
        InvalidArgument: as of :func:`write_source`.
    """
    return write_source(from_boxes(sets), folder, link=link)


def write_source(source: Source, folder: Path | str, *, link: bool = False) -> Path:
    """Writes a source as ``images/SPLIT``, ``labels/SPLIT`` and ``data.yaml``.

    The folder is written beside its place and then put there, so it is whole or as it was. Written
    from the same source it is the same, and nothing of an earlier source stays in it.

    Args:
        source: pictures with labels, in splits.
        folder: where to. A folder that holds something else than an earlier data set is refused.
        link: makes hard links instead of copies. ultralytics repairs damaged pictures in place, so
            with links it repairs the originals.

    Returns:
        The data YAML. It names no absolute path: the folder may be moved.

    Raises:
        InvalidArgument: the folder holds other things, or pictures of the source.
    """
    folder = Path(folder).resolve()
    _check(folder, source)
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        new, old = Path(name) / "new", Path(name) / "old"
        _fill(source, new, link)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    return folder / "data.yaml"


def _check(folder: Path, source: Source) -> None:
    mark = folder / "data.yaml"
    ours = mark.is_file() and mark.read_bytes().startswith(_MARK.encode())
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        expected = "a new folder, an empty one, or one that rfaconv yolo data wrote"
        raise InvalidArgument("out", expected, str(folder))
    for pictures in source.splits.values():
        for picture in pictures:
            if picture.image.resolve().is_relative_to(folder):
                expected = "a folder without the pictures that are read"
                raise InvalidArgument("out", expected, str(folder))


def _fill(source: Source, folder: Path, link: bool) -> None:
    import yaml

    for split, pictures in source.splits.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        names = unique_names(p.image.resolve() for p in pictures)
        for picture in pictures:
            file = picture.image.resolve()
            place = images / f"{names[file]}{file.suffix}"
            if not link or not _linked(file, place):
                shutil.copyfile(file, place)
            lines = [
                " ".join([str(label), *(f"{n:.6f}" for n in numbers)]) + "\n"
                for label, numbers in picture.rows
            ]
            (labels / f"{names[file]}.txt").write_text("".join(lines), encoding="utf-8")
    content = {
        **{split: f"images/{split}" for split in source.splits},
        "names": dict(enumerate(source.classes)),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if source.problems:
        (folder / "problems.txt").write_text("\n".join(source.problems) + "\n", encoding="utf-8")
    write_atomic(folder / "data.yaml", f"{_MARK}\n{text}")


def _linked(file: Path, place: Path) -> bool:
    try:
        os.link(file, place)
    except OSError:  # another disk, or a file system without links
        return False
    return True
