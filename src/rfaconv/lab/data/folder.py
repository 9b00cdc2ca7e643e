"""A folder of images: ``train/CLASS/*.png`` and ``val/…``, or ``CLASS/*.png`` split by a seed.

The parts have any of the names in ``TRAIN`` and ``VAL``, in any case.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.decoding import ImageProblem, has_image_suffix, is_image
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import (
    ImageSet,
    SkippedImage,
    TensorImages,
    limit_per_class,
    stratified_split,
)
from rfaconv.lab.data.decoding import FileImages, FileList, decode, square
from rfaconv.lab.data.digest import digest_of, image_stamp

BESIDES = (
    ".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".db", ".ini", ".npy",
)  # fmt: skip
"""Endings of files that lie beside images and are none."""
TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test", "testing")
"""Names of the part that validates; of several the first."""
NO_CLASSES = ("__MACOSX", "@eaDir")
"""What archives and file servers put beside the folders of classes."""
VAL_FRACTION = 0.2
MEMORY_LIMIT = 2 << 30  # bytes of decoded images above which they are decoded anew in every epoch

Progress = Callable[[int, int], None]


def read_folder(
    path: Path,
    image_size: int,
    *,
    split_seed: int = 0,
    strict: bool = False,
    limit: int | None = None,
    anew: bool = False,
    progress: Progress | None = None,
) -> tuple[ImageSet, ImageSet, tuple[str, ...], tuple[SkippedImage, ...], str]:
    """Training and validation images, class names, files left out, digest of the files.

    The images of a class are those of its folder and of all folders below it, by their endings or,
    with an unknown one, by their content.

    Args:
        path: folder with ``train/`` and ``val/``, or with one folder per class.
        image_size: height and width to bring every image to, in pixels.
        split_seed: of the split (a fifth of every class is held out) where there is no ``val/``.
        strict: a file that cannot be decoded is an error, not left out.
        limit: at most so many training images, the classes kept even.
        anew: images are decoded in every epoch, even if they would fit into memory.
        progress: called with (files decoded, files in all).

    Raises:
        InvalidArgument: no such folder, no classes, a class without images, classes that differ
            between ``train/`` and ``val/``, or with ``strict`` a damaged file.
    """
    train, val, classes, others = list_folder(path, split_seed)
    if others and strict:
        raise InvalidArgument("data", "images alone (strict)", str(others[0]))
    train = train.subset(limit_per_class(train.labels, limit))
    transform = square(image_size)
    total = len(train.paths) + len(val.paths)
    keep = not anew and total * 3 * image_size**2 <= MEMORY_LIMIT
    skipped: list[SkippedImage] = list(others)
    parts: list[ImageSet] = []
    stamps: list[Iterable[object]] = []
    done = 0
    for part, files in (("train", train), ("val", val)):
        offset = done

        def report(count: int, offset: int = offset) -> None:
            if progress is not None:
                progress(offset + count, total)

        images, good, damaged = _decode_all(files, transform, keep, report)
        done += len(files.paths)
        if damaged and strict:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            raise InvalidArgument(
                "data", "images that can be decoded (strict)", f"{damaged[0]}{more}"
            )
        skipped += damaged
        files = files.subset(good)
        names = [file.relative_to(path).as_posix() for file in files.paths]
        stamps.append(map(image_stamp, files.paths, names))
        counts = torch.bincount(files.labels, minlength=len(classes))
        for label in (counts == 0).nonzero().flatten().tolist():
            lost = next((item for item in damaged if classes[label] in item.path.parts), None)
            reason = f"none that can be decoded ({lost})" if lost else "none"
            raise InvalidArgument(
                "data", f"images of class {classes[label]!r} in the {part} part of {path}", reason
            )
        parts.append(
            TensorImages(images, files.labels)
            if images is not None
            else FileImages(files, transform)
        )
    digest = digest_of(classes, *stamps)
    return parts[0], parts[1], classes, tuple(skipped), digest


def list_folder(
    path: Path, split_seed: int = 0
) -> tuple[FileList, FileList, tuple[str, ...], tuple[SkippedImage, ...]]:
    """Files of the training and validation part, class names, and files that are no images."""
    if not path.is_dir():
        got = f"{path} ({'not a folder' if path.exists() else 'does not exist'})"
        raise InvalidArgument("data", "folder:PATH with PATH a folder of images", got)
    parts = split_folders(path)
    if len(parts) == 2:
        train, classes, odd_train = _list_part(parts[0], minimum=1)
        val, val_classes, odd_val = _list_part(parts[1], minimum=1)
        if classes != val_classes:
            odd = sorted(set(classes) ^ set(val_classes))[0]
            where = parts[1 if odd in classes else 0].name
            expected = f"the same classes in {parts[0].name}/ and {parts[1].name}/ of {path}"
            raise InvalidArgument("data", expected, f"no {odd!r} in {where}/")
        return train, val, classes, (*odd_train, *odd_val)
    if parts and parts[0].name.casefold() in (TRAIN[0], VAL[0]):
        # one of the two alone is more likely a mistake than a class of that name
        expected = f"train/ and val/ in {path}, or one folder per class"
        raise InvalidArgument("data", expected, f"only {parts[0].name}/")
    every, classes, others = _list_part(path, minimum=2)
    train_indices, val_indices = stratified_split(every.labels, VAL_FRACTION, split_seed)
    return every.subset(train_indices), every.subset(val_indices), classes, others


def split_folders(path: Path) -> list[Path]:
    """The folders to train and to validate on, those of the two that there are."""
    found = {entry.name.casefold(): Path(entry.path) for entry in _entries(path) if _is_dir(entry)}
    parts = (next((found[name] for name in names if name in found), None) for names in (TRAIN, VAL))
    return [part for part in parts if part is not None]


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            shown = (e for e in entries if e.name[0] != "." and e.name not in NO_CLASSES)
            return sorted(shown, key=lambda e: e.name)
    except OSError as error:
        raise InvalidArgument(
            "data", "a folder that can be read", f"{folder} ({error.strerror})"
        ) from error


def _list_part(
    folder: Path, minimum: int
) -> tuple[FileList, tuple[str, ...], tuple[SkippedImage, ...]]:
    classes = tuple(entry.name for entry in _entries(folder) if _is_dir(entry))
    if len(classes) < 2:
        raise InvalidArgument("data", f"two or more class folders in {folder}", f"{len(classes)}")
    paths: list[Path] = []
    labels: list[int] = []
    others: list[SkippedImage] = []
    for label, name in enumerate(classes):
        files, odd = _images(folder / name)
        others += odd
        if len(files) < minimum:
            need = "an image" if minimum == 1 else f"{minimum} images or more to split"
            raise InvalidArgument(
                "data", f"{need} in class folder {folder / name}", f"{len(files)}"
            )
        paths += files
        labels += [label] * len(files)
    return FileList(tuple(paths), torch.tensor(labels)), classes, tuple(others)


def _images(folder: Path) -> tuple[list[Path], list[SkippedImage]]:
    """Image files of a folder and of those below it, and what is none and should be named."""
    files: list[Path] = []
    odd: list[SkippedImage] = []
    for entry in _entries(folder):
        path = Path(entry.path)
        if _is_dir(entry):
            if not (entry.is_symlink() and _above(path)):
                below, odd_below = _images(path)
                files += below
                odd += odd_below
        elif not path.is_file():
            odd.append(SkippedImage(path, "a link to nothing" if entry.is_symlink() else "no file"))
        elif has_image_suffix(path):
            files.append(path)
        elif path.suffix.lower() not in BESIDES:
            if is_image(path):
                files.append(path)
            else:
                odd.append(SkippedImage(path, "not an image"))
    return files, odd


def _above(link: Path) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return link.resolve() in link.absolute().parents


def _decode_all(
    files: FileList, transform: v2.Transform, keep: bool, report: Callable[[int], None]
) -> tuple[Tensor | None, Tensor, list[SkippedImage]]:
    """Every file once: the images if they are kept, indices that worked, files that did not."""

    def attempt(path: Path) -> Tensor | SkippedImage:
        try:
            return decode(path, transform)
        except ImageProblem as error:
            return SkippedImage(path, str(error))

    images: list[Tensor] = []
    good: list[int] = []
    damaged: list[SkippedImage] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for index, result in enumerate(_in_order(pool, attempt, files.paths)):
            if isinstance(result, SkippedImage):
                damaged.append(result)
            else:
                good.append(index)
                if keep:
                    images.append(result)
            report(index + 1)
    return (
        (torch.stack(images) if keep and images else None),
        torch.tensor(good, dtype=torch.long),
        damaged,
    )


def _in_order(
    pool: ThreadPoolExecutor,
    attempt: Callable[[Path], Tensor | SkippedImage],
    paths: tuple[Path, ...],
) -> Iterable[Tensor | SkippedImage]:
    # In blocks, so that a set larger than memory never waits in the pool's queue.
    for start in range(0, len(paths), 512):
        yield from pool.map(attempt, paths[start : start + 512])
