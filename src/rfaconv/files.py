"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


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
