"""Files that are either whole or absent: written under a temporary name, then renamed.

And the forms of their text: JSON that every parser accepts, YAML that says everything once.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument

_MERGE = "tag:yaml.org,2002:merge"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a file so that a crash at any moment leaves the old content or the new, never a part.

    Args:
        path: the file; its folder must exist.
        content: text (written as UTF-8) or bytes.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; results are ordinary files
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Makes a folder that was named by ``out``, and those above it; it may be there.

    Raises:
        InvalidArgument: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{path} ({error.strerror})"
        raise InvalidArgument("out", "a folder that can be written", got) from error


def sync(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk.

    Windows opens no folder and syncs only what was opened for writing; there a folder is left to
    the file system's journal.
    """
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except PermissionError:
        if folder:
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def strict_json(value: Any) -> str:
    """Text of a value as JSON that every parser accepts: NaN and infinity are errors.

    Example:
        >>> print(strict_json({"top1": 0.5}), end="")
        {
          "top1": 0.5
        }
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    # names of files that are not UTF-8 have lone surrogates: JSON has them as escapes
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_text(name: str) -> str:
    r"""A name of a file or a folder with a question mark for every byte that is not UTF-8.

    Example:
        >>> as_text("a\udcff.png")
        'a?.png'
    """
    return name.encode("utf-8", "replace").decode()


def free_name(name: str, taken: set[str]) -> str:
    """The name, numbered where it is taken, whatever the case; from then on it is taken.

    Example:
        >>> taken = set()
        >>> free_name("a", taken), free_name("A", taken), free_name("a-2", taken)
        ('a', 'A-2', 'a-2-2')
    """
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


def read_yaml(text: str) -> Any:
    r"""The value of a YAML text.

    Raises:
        ValueError: it is no YAML, or has a key twice, of which the first would be lost; the message
            is the reason alone.
        RecursionError: it is nested too deep.

    Example:
        >>> read_yaml("epochs: 3\nepochs: 4")
        Traceback (most recent call last):
        ValueError: line 2: the key 'epochs' twice
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _resolve(node, set())
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"line {mark.line + 1}" if mark else "no text") from error


def _resolve(node: Any, seen: set[int]) -> None:
    """Refuses a key that a mapping has twice, then puts what is merged (<<) into the mapping.

    A key of the mapping itself comes before a merged one, and of several that are merged the first.
    PyYAML's own merge takes another where a mapping has merged and overridden before.
    """
    if id(node) in seen or isinstance(getattr(node, "value", ""), str):
        return
    seen.add(id(node))
    names = set()
    for part in node.value:
        key, below = part if isinstance(part, tuple) else (None, part)
        name = getattr(key, "value", None)
        if isinstance(name, str):
            if name in names:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {name!r} twice")
            names.add(name)
        _resolve(below, seen)
    merges = [part for part in node.value if isinstance(part, tuple) and part[0].tag == _MERGE]
    for merge in merges:
        own = [part for part in node.value if part is not merge]
        known = {_identity(key) for key, _ in own}
        sources = merge[1].value if merge[1].id == "sequence" else [merge[1]]
        if any(source.id != "mapping" for source in sources):
            raise ValueError(f"line {merge[0].start_mark.line + 1}: << without a mapping")
        found: dict[Any, Any] = {}
        for key, value in (pair for source in sources for pair in source.value):
            found.setdefault(_identity(key), (key, value))
        node.value = [*(pair for name, pair in found.items() if name not in known), *own]


def _identity(key: Any) -> tuple[str, Any]:
    """Equal for equal keys: 1 and "1" are two."""
    return key.tag, key.value if isinstance(key.value, str) else id(key)
