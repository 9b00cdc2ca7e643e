"""Files of a folder by their stems, and lists of names, as people write them."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from rfaconv.decoding import has_image_suffix
from rfaconv.errors import InvalidArgument

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
          (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_SECOND_COLUMN = re.compile(r"^(.*\S)\s+(-1|0|1)$")


def read_text(path: Path, argument: str) -> str:
    """A text file in UTF-8 or UTF-16, with or without a byte order mark.

    Args:
        path: the file.
        argument: what errors call it.

    Raises:
        InvalidArgument: it cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
        if encoding is None:
            # letters of UTF-16 without a mark have a zero byte first or second
            zeros = content[:2].count(0) == 1 and len(content) % 2 == 0
            encoding = ("utf-16-be" if content[0] == 0 else "utf-16-le") if zeros else "utf-8"
        return content.decode(encoding)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(
            argument, "a text file in UTF-8 or UTF-16", f"{path} ({reason})"
        ) from error


class Files:
    """The files of a folder by name without suffix, whatever the case of the suffix.

    Args:
        folder: may be missing; then nothing is found.
        wanted: which files count.
    """

    def __init__(self, folder: Path, wanted: Callable[[Path], bool] = has_image_suffix) -> None:
        self.folder = folder
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        self.paths = [path for path in found if wanted(path) and not path.name.startswith(".")]
        self._stems: dict[str, list[Path]] = {}
        for path in self.paths:
            self._stems.setdefault(_composed(path.stem), []).append(path)
        self._names = {_composed(path.name): path for path in self.paths}

    def named(self, text: str) -> Path | None:
        """The file of this name or, without its suffix, of this stem."""
        name = _composed(text)
        exact = self._names.get(name) or next(iter(self._stems.get(name, [])), None)
        if exact is None and "." in name:
            exact = next(iter(self._stems.get(name.rpartition(".")[0], [])), None)
        return exact

    def all_named(self, stem: str) -> list[Path]:
        """Every file of this stem."""
        return self._stems.get(_composed(stem), [])


def read_names(
    path: Path, known: Callable[[str], bool], argument: str = "split"
) -> tuple[list[str], list[str]]:
    """The names of a list, one a line, each once, and those it has twice; they may have spaces.

    VOC's lists of a class have a second column, 1, 0 or -1. It is dropped where the whole line is
    no name that is known.

    Args:
        path: the list.
        known: whether there is something of this name.
        argument: what errors call the list.

    Raises:
        InvalidArgument: the list cannot be read.
    """
    names = []
    for line in read_text(path, argument).splitlines():
        name = line.strip()
        column = _SECOND_COLUMN.match(name)
        if column and not known(name):
            name = column.group(1)
        if name:
            names.append(name)
    counts = Counter(names)
    return list(counts), [name for name, count in counts.items() if count > 1]


def check_names(names: Iterable[str], argument: str, of: str = "") -> None:
    """Refuses a class name that is there twice: nobody could tell the two classes apart.

    Args:
        names: of the classes.
        argument: what errors call them.
        of: where they are from, after "each name".

    Raises:
        InvalidArgument: there is one.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidArgument(argument, f"each name{of} once", f"{twice[0]!r} twice")


def _composed(name: str) -> str:
    """A letter and its accent as one character: archives of some systems have them as two."""
    return unicodedata.normalize("NFC", name)
