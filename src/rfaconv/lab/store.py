"""The folder of a comparison: settings, one file per finished training, and nothing half-written.

run.json                     the settings; written first
cost.json                    parameters, multiply-adds, latency, memory; measured once
pairs/digits-rfa-seed0.json  score and curve of one finished training
runs/digits-rfa-seed0/       its run, as of ``rfaconv train``; of the first seed, or of all (`keep`)
results.json, report.html, table.*, plots/   made from the files above when all are there
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.data.digest import same_data
from rfaconv.lab.progress import Cell
from rfaconv.lab.training.run_folder import LOCK_FILE, locked

SCHEMA = 2
GROWING = ("operators", "seeds")
"""Settings to which a comparison may add; what they are compared with follows from them."""


class Store:
    """Reads and writes one results folder; see the module's text for what lies in it.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, settings: dict[str, Any]) -> None:
        """Takes the folder for this run: makes it, or finds the same run in it, or a part of it.

        Of a part, with fewer operators or seeds, the settings stay until :meth:`grow`.

        Raises:
            InvalidArgument: the folder holds another run, other files, or cannot be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InvalidArgument("out", "a folder", f"{self.root} (a file)")
        record = self.root / "run.json"
        if record.exists():
            self._check_same(settings)
        elif self.root.is_dir() and any(not p.name.startswith(".") for p in self.root.iterdir()):
            expected = "an empty folder, a new one, or one with an earlier rfaconv comparison"
            raise InvalidArgument("out", expected, f"{self.root} with other files in it")
        try:
            for folder in ("pairs", "runs"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            if not record.exists():
                write_atomic(record, strict_json({"schema": SCHEMA, "settings": settings}))
        except OSError as error:
            got = f"{self.root} ({error.strerror})"
            raise InvalidArgument("out", "a folder that can be written", got) from error

    def _check_same(self, settings: dict[str, Any]) -> None:
        try:
            record = json.loads((self.root / "run.json").read_text(encoding="utf-8"))
            found = record["settings"]
            schema = record["schema"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            got = f"{self.root / 'run.json'} ({type(error).__name__})"
            raise InvalidArgument("out", "a readable run.json", got) from error
        if schema != SCHEMA:
            got = f"format {schema} in {self.root}"
            raise InvalidArgument("out", f"a comparison in format {SCHEMA}", got)
        other = [
            k for k in {**settings, **found}
            if settings.get(k) != found.get(k) and k != "baseline"
            and not (k.endswith(".digest") and same_data(str(found.get(k)), str(settings.get(k))))
            and not (k in GROWING and set(found.get(k, ())) <= set(settings.get(k, ())))
        ]  # fmt: skip
        if other:
            told = [_differing(k, settings.get(k), found.get(k)) for k in other[:3]]
            here, there = (", ".join(side) for side in zip(*told, strict=True))
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            raise InvalidArgument(
                "out",
                f"a new folder or one of this run or a part of it ({here}{more})",
                f"{self.root} with another run ({there}{more})",
            )

    def grow(self, settings: dict[str, Any]) -> None:
        """Writes the settings down if they are more than was asked for before."""
        record = {"schema": SCHEMA, "settings": settings}
        if self.read("run.json") != record:
            self.write("run.json", record)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second process out of the folder while this one works in it.

        Raises:
            RFAConvError: another process is at work there.
        """
        message = f"out: another rfaconv compare is at work in {self.root}"
        with locked(self.root / LOCK_FILE, RFAConvError(message)):
            yield

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file of the folder, or None where there is none.

        Raises:
            InvalidArgument: the file is damaged.
        """
        path = self.root / name
        if not path.exists():
            return None
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InvalidArgument("out", f"readable JSON in {path}", reason) from error
        if not isinstance(value, dict):
            raise InvalidArgument("out", f"an object in {path}", type(value).__name__)
        return value

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Writes a JSON file of the folder, whole or not at all."""
        write_atomic(self.root / name, strict_json(value))

    def pair(self, cell: Cell) -> dict[str, Any] | None:
        """The finished training, or None."""
        value = self.read(f"pairs/{file_name(cell)}.json")
        if value is not None and not {"result", "measured"} <= value.keys():
            place = self.root / f"pairs/{file_name(cell)}.json"
            raise InvalidArgument("out", f"result and measured in {place}", "neither")
        return value

    def finish_pair(self, cell: Cell, value: dict[str, Any], keep: bool) -> None:
        """Records a finished training; without ``keep`` its run is dropped."""
        self.write(f"pairs/{file_name(cell)}.json", value)
        if not keep:
            shutil.rmtree(self.run(cell), ignore_errors=True)

    def run(self, cell: Cell) -> Path:
        """The run's folder."""
        return self.root / "runs" / file_name(cell)


def file_name(cell: Cell) -> str:
    """What the files of a training are called.

    Example:
        >>> file_name(Cell("my images", "rfa", 0))
        'my-images-rfa-seed0'
    """
    return f"{plain(cell.recipe)}-{cell.operator}-seed{cell.seed}"


def plain(name: str) -> str:
    """A name with letters, digits, dots and hyphens alone, for files.

    Example:
        >>> plain("my [best] images"), plain("猫")
        ('my-best-images', '猫')
    """
    return re.sub(r"[^\w.]+", "-", name)


def _differing(key: str, ours: Any, theirs: Any) -> tuple[str, str]:
    """How a setting of this run and of the one in the folder are told apart in a sentence."""
    if key in GROWING and isinstance(ours, list) and isinstance(theirs, list):
        lost = _short([one for one in theirs if one not in ours])
        return f"{key} without {lost}", f"{key} with {lost}"
    return f"{key}={_short(ours)}", f"{key}={_short(theirs)}"


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
