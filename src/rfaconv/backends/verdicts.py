"""Verdicts about kernels, kept in the user's cache folder, one file per device and versions.

A cache alone: what cannot be read or written is proved again, with a note in the debug log. A proof
that takes its process down leaves its mark, so that the next process does not die of it for ever.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfaconv.files import write_atomic

__all__ = ["Verdicts", "cache_folder"]

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where the library keeps what it can find out again: the environment variable RFACONV_CACHE,
    else ``rfaconv`` in the user's cache folder as the system has it.
    """
    own = os.environ.get("RFACONV_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "rfaconv" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rfaconv"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfaconv"


DEATHS = 2
"""Processes that a proof may take down before its kind is refused: one may have been killed."""


class Verdicts:
    """What is known of one device: kind of problem to None, or the reason why it is refused.

    Args:
        identity: what the verdicts hold for: device, driver, versions. Any change makes a new file.
    """

    def __init__(self, identity: Mapping[str, str]) -> None:
        self.identity = dict(identity)
        self.known, _ = self._read()

    def path(self) -> Path | None:
        """The file, or None where there is no folder for it."""
        text = json.dumps(self.identity, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        try:
            return cache_folder() / "proof" / f"{name}.json"
        except RuntimeError as error:  # of pathlib: a user without a home
            _log.debug("verdicts are not kept: %s", error)
            return None

    def begin(self, kind: str) -> None:
        """Notes that a proof begins."""
        known, begun = self._read()
        entry = begun.get(kind, {"deaths": 0})
        self._write(known, {**begun, kind: {**entry, "pid": os.getpid(), "host": platform.node()}})

    def end(self, kind: str, found: Mapping[str, str | None]) -> None:
        """Adds the verdicts that a proof has come to, none where it was interrupted."""
        known, begun = self._read()
        self.known = {**known, **self.known, **found}
        self._write(self.known, {k: v for k, v in begun.items() if k != kind})

    def _read(self) -> tuple[dict[str, str | None], dict[str, dict[str, Any]]]:
        """Verdicts, and proofs that have begun and not ended."""
        path = self.path()
        if path is None:
            return {}, {}
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            known, begun = dict(stored["verdicts"]), dict(stored["begun"])
            if stored["identity"] != self.identity:
                raise ValueError("it is of another device")
            if not all(reason is None or isinstance(reason, str) for reason in known.values()):
                raise ValueError("it is of another format")
            begun = {kind: _counted(entry) for kind, entry in begun.items()}
        except FileNotFoundError:
            return {}, {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.debug("%s is ignored: %s", path, error)
            return {}, {}
        for kind, entry in begun.items():
            if entry["deaths"] >= DEATHS:
                known.setdefault(kind, f"{DEATHS} processes died while they proved it")
        return known, begun

    def _write(
        self, known: Mapping[str, str | None], begun: Mapping[str, Mapping[str, Any]]
    ) -> None:
        path = self.path()
        if path is None:
            return
        content = json.dumps({"identity": self.identity, "verdicts": known, "begun": begun})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
        except OSError as error:
            _log.debug("%s is not written: %s", path, error)


def _counted(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a proof that has begun; a death more if its process is gone."""
    pid, host, deaths = int(entry["pid"]), str(entry["host"]), int(entry["deaths"])
    if pid and host == platform.node() and _gone(pid):
        return {"pid": 0, "host": host, "deaths": deaths + 1}
    return {"pid": pid, "host": host, "deaths": deaths}


def _gone(pid: int) -> bool:
    """Whether no process has the number; False where that cannot be asked without harm."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False
