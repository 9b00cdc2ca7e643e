"""Waiting for what another process does, not for a time in which it may have done it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import IO


def read_until(stream: IO[str] | None, text: str) -> str:
    """What a process wrote up to and with the line that holds ``text``.

    Raises:
        AssertionError: it ended without; what it wrote is the message.
    """
    assert stream is not None
    said = ""
    for line in stream:
        said += line
        if text in line:
            return said
    raise AssertionError(f"ended without {text!r}:\n{said}")


def children(parent: int) -> list[int]:
    """The processes that a process has started and that live (Linux)."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text(encoding="utf-8").split()]


def wait_for_end(processes: Iterable[int], seconds: float = 60) -> None:
    """Waits until none of the processes, which need not be children of this one, lives (Linux).

    Raises:
        AssertionError: one still lived after that time.
    """
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(seconds * 1000), f"process {process} lives on"
        finally:
            os.close(handle)
