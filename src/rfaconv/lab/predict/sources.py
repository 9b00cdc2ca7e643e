"""Images, folders of images and videos, one image at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rfaconv.decoding import SUFFIXES, ImageProblem, is_image
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.data.decoding import read_pixels
from rfaconv.lab.data.folder import BESIDES

PICTURES = SUFFIXES
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
RESULTS = "predictions.json"


def expand(sources: Sequence[Path]) -> list[Path]:
    """Files of images and videos, each once: a folder stands for those in it, in order of names.

    Images are known by their endings or, with an unknown one, by their content. Of a folder with
    some, other files are taken too, so that they are named as what cannot be decoded; but not those
    that lie beside images, such as lists, and hidden ones.

    Raises:
        InvalidArgument: a source is missing, of another kind, or a folder without any.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            there = (p for p in source.iterdir() if not p.name.startswith(".") and not p.is_dir())
            found = sorted(p for p in there if p.suffix.lower() not in BESIDES)
            if not any(map(_is_known, found)):
                raise InvalidArgument("source", "a folder with pictures or videos", str(source))
            files.extend(found)
        elif source.is_file() and _is_known(source):
            files.append(source)
        else:
            kinds = " ".join(PICTURES + VIDEOS)
            raise InvalidArgument("source", f"a folder or a file ({kinds})", str(source))
    return list(dict.fromkeys(files))


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in PICTURES + VIDEOS or is_image(path)


def check_apart(out: Path, files: Iterable[Path]) -> None:
    """Refuses a folder in which what is drawn could replace an image that is read.

    Raises:
        InvalidArgument: it holds one of the images, or is no folder.
    """
    if out.exists() and not out.is_dir():
        raise InvalidArgument("out", "a folder", f"{out}, a file")
    place = out.resolve()
    if any(place in (file.parent.resolve(), file.resolve().parent) for file in files):
        raise InvalidArgument("out", "a folder without the pictures that are read", str(out))


def names_in(out: Path, results: str = RESULTS, command: str = "predict") -> set[str]:
    """Names of pictures in a folder, without their endings, but for those that the command drew.

    Args:
        out: the folder.
        results: where the command lists what it drew.
        command: the command.

    Raises:
        InvalidArgument: the list is something else.
    """
    earlier, drawn = out / results, set()
    if earlier.exists():
        try:
            entries = json.loads(earlier.read_text(encoding="utf-8"))["pictures"]
            drawn = {entry["drawn"] for entry in entries}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            expected = f"a folder without another {results} than of rfaconv {command}"
            raise InvalidArgument("out", expected, str(earlier)) from error
    files = out.iterdir() if out.is_dir() else ()
    pictures = (p for p in files if p.suffix.lower() == ".png" and p.name not in drawn)
    return {path.stem.casefold() for path in pictures}


def frames(file: Path, every: int = 1) -> Iterator[tuple[int | None, Tensor]]:
    """The image of a file, or every so many frames of a video with their numbers.

    Args:
        file: an image or a video.
        every: 1 for all frames.

    Yields:
        (None, image) or (frame, image); images are uint8 (3, H, W).

    Raises:
        RFAConvError: the file cannot be decoded; it is named.
        InvalidArgument: ``every`` is below 1.
    """
    if every < 1:
        raise InvalidArgument("every", "1 or more", every)
    if file.suffix.lower() not in VIDEOS:
        try:
            yield None, read_pixels(file)
        except ImageProblem as error:
            raise RFAConvError(f"{file}: cannot be decoded: {error}") from error
        return
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise RFAConvError("videos need OpenCV: pip install opencv-python") from error
    video = cv2.VideoCapture(str(file))
    if not video.isOpened():
        raise RFAConvError(f"{file}: cannot be decoded as a video")
    try:
        number = 0
        while True:
            there, pixels = video.read()
            if not there:
                break
            if number % every == 0:
                yield number, torch.from_numpy(pixels).permute(2, 0, 1).flip(0).contiguous()
            number += 1
    finally:
        video.release()
    if number == 0:
        raise RFAConvError(f"{file}: a video without frames")
