"""Files of an export: all there under their names, or none."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from rfaconv.errors import InvalidArgument, RFAConvError


class ExportFailed(RFAConvError):
    """A network that a target cannot take; the message has the reason. No file was written."""

    def __init__(self, target: str, reason: str) -> None:
        self.target, self.reason = target, reason
        super().__init__(f"cannot be exported to {target}: {reason}")


def check_free(path: Path, force: bool) -> None:
    """Raises InvalidArgument unless a file may be written at ``path``."""
    if not path.parent.is_dir():
        raise InvalidArgument("out", "a file in a folder that exists", str(path))
    if path.exists() and not (force and path.is_file()):
        raise InvalidArgument("out", "a file that does not exist (or force)", str(path))


def write_files(path: Path, write: Callable[[Path], None]) -> list[Path]:
    """Calls ``write`` with a file of the same name in a new folder, then renames what is there.

    Args:
        path: the file wanted; its folder must exist.
        write: writes it, and others beside it.

    Returns:
        The files, ``path`` last: where it is, the others are.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        write(Path(folder) / path.name)
        made = sorted(Path(folder).iterdir(), key=lambda p: p.name == path.name)
        files = []
        for file in made:
            file.replace(path.parent / file.name)
            files.append(path.parent / file.name)
    return files
