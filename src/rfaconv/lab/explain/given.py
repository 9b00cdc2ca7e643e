"""The images that a user names, with their truth where it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.files import free_name
from rfaconv.lab.explain.views import View
from rfaconv.lab.judging import BUNDLED, Truth, read_truth
from rfaconv.lab.predict import frames
from rfaconv.lab.predict.sources import VIDEOS, expand

Read = Callable[[], tuple[Tensor, Any]]


@dataclass(frozen=True)
class Given:
    """One image.

    Attributes:
        name: for its files.
        file: the image, or a name of one that comes with the package.
        read: to bytes (3, H, W), and what is true of them or None.
    """

    name: str
    file: Path
    read: Read


def given_images(words: Sequence[str], view: View, count: int) -> list[Given]:
    """Images of data sets with their truth, of folders and of files.

    A file in a folder that is called like a class is of that class.

    Args:
        words: of the user.
        view: the network, for its task and classes.
        count: images of a data set, spread over its validation images.

    Raises:
        InvalidArgument: a word is nothing of these, or a data set is of another task.
    """
    given: list[tuple[Path, Read]] = []
    files: list[Path] = []
    for word in words:
        truth = _data_set(word)
        if truth is None:
            files += expand([Path(word).expanduser()])
            continue
        if truth.task != view.task:
            got = f"{word}, images to {truth.task}"
            raise InvalidArgument("images", f"images to {view.task}", got)
        given += _of_data(truth, view, count)
    given += [(f, _reader(f, view)) for f in dict.fromkeys(files) if f.suffix.lower() not in VIDEOS]
    if not given:
        raise InvalidArgument("images", "a picture", "videos alone")
    taken: set[str] = set()
    return [Given(free_name(file.stem, taken), file, read) for file, read in given]


def _data_set(word: str) -> Truth | None:
    """None for a file, and for a folder of images that is no data set."""
    path = Path(word).expanduser()
    if path.is_file() or not (path.is_dir() or word in BUNDLED):
        return None
    try:
        return read_truth(word)
    except InvalidArgument:
        if path.is_dir() and any(entry.is_file() for entry in path.iterdir()):
            return None
        raise


def _of_data(truth: Truth, view: View, count: int) -> list[tuple[Path, Read]]:
    total = len(truth.names)
    # the middle of each of so many equal parts: data sets are sorted by class
    chosen = sorted({int((i + 0.5) * total / count) for i in range(min(count, total))})

    def reader(index: int) -> Read:
        return lambda: (truth.image(index), _answer(truth, view, index))

    return [(Path(truth.names[i]), reader(i)) for i in chosen]


def _answer(truth: Truth, view: View, index: int) -> Any:
    answer = truth.answer(index)
    if truth.task == "classify":
        return truth.classes[answer]
    if truth.task == "detect":
        boxes, labels = answer
        return boxes, [truth.classes[i] for i in labels.tolist()]
    return answer if truth.classes == view.names else None


def _reader(file: Path, view: View) -> Read:
    label = file.resolve().parent.name
    known = label if view.task == "classify" and label in view.names else None

    def read() -> tuple[Tensor, Any]:
        ((_, image),) = frames(file)
        return image, known

    return read
