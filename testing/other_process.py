"""Tests that need a process of their own, each collected under its own id and judged by itself.

A :class:`Suite` is a folder of tests with the environment that they need. Its files are collected
in a process with that environment; the first of its tests to run starts one process for each group
of the chosen ones, all at the same time; every test then waits for its own report.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHANNEL = "RFACONV_TEST_REPORTS"


@dataclass
class _Running:
    """A process that runs tests, and what it has reported so far."""

    process: subprocess.Popen[bytes]
    output: Path
    reports: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: bool = False

    def listen(self, connection: Connection) -> None:
        try:
            while True:
                name, outcome, text = connection.recv()
                with self.changed:
                    self.reports[name] = outcome, text
                    self.changed.notify_all()
        except EOFError:
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def result(self, name: str) -> tuple[str, str]:
        with self.changed:
            self.changed.wait_for(lambda: name in self.reports or self.ended)
        if name in self.reports:
            return self.reports[name]
        self.process.wait()
        said = self.output.read_text(encoding="utf-8", errors="replace")
        return "failed", f"its process ended with {self.process.returncode}\n{said[-8000:]}"


class Suite:
    """A folder of tests that run in processes with an environment of their own.

    Args:
        folder: the tests.
        environment: variables that they need.
        group: the name of the process that a test runs in, from the test's id.
        root: the folder that ids begin in.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        group: Callable[[str], str] = lambda name: "",
        root: Path = ROOT,
    ) -> None:
        self.folder, self.environment, self.group = folder, dict(environment), group
        self.root = root
        self._names: dict[str, list[str]] | None = None
        self._said = ""
        self._running: list[_Running] = []
        self._runs: dict[str, _Running] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="rfaconv-suite-")

    def here(self) -> bool:
        """Whether this process is one that the tests need."""
        return self.environment.items() <= os.environ.items()

    def names(self, file: Path) -> list[str]:
        """The ids of the tests of a file, without the file's name.

        Raises:
            pytest.Collector.CollectError: they cannot be collected.
        """
        if self._names is None:
            with tempfile.TemporaryDirectory() as scratch:
                run = self._start([str(self.folder), "--collect-only"], Path(scratch))
                if run.process.wait() not in (0, 5):
                    self._said = run.output.read_text(encoding="utf-8", errors="replace")
                with run.changed:
                    run.changed.wait_for(lambda: run.ended)
            self._names = {}
            for name in run.reports:
                path, _, test = name.partition("::")
                self._names.setdefault(path, []).append(test)
        found = self._names.get(file.relative_to(self.root).as_posix(), [])
        if self._said and not found:
            raise pytest.Collector.CollectError(self._said)
        return found

    def empty(self) -> None:
        """Leaves all of the tests out."""
        self._names = {}

    def result(self, name: str, chosen: Callable[[], list[str]]) -> tuple[str, str]:
        """Outcome and text of a test, ``chosen`` being all that are to run with it."""
        if name not in self._runs:
            names = [n for n in chosen() if n not in self._runs]
            for group in sorted({self.group(n) for n in names}):
                place = Path(self._scratch.name, f"group-{len(self._running)}")
                place.mkdir()
                wanted = place / "tests"
                lines = [n for n in names if self.group(n) == group]
                wanted.write_text("\n".join(lines), encoding="utf-8")
                self._running.append(self._start([f"@{wanted}"], place))
                self._runs |= dict.fromkeys(lines, self._running[-1])
        run = self._runs.get(name)
        return ("failed", "not among the chosen tests") if run is None else run.result(name)

    def close(self) -> None:
        """Ends what still runs."""
        for run in self._running:
            run.process.kill()
            run.process.wait()
        self._scratch.cleanup()

    def _start(self, arguments: list[str], place: Path) -> _Running:
        receiver, sender = Pipe(duplex=False)
        before = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
        paths = [str(ROOT / "src"), str(ROOT), str(self.folder.parent), before.get("PYTHONPATH")]
        environment = before | self.environment | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "TRITON_CACHE_DIR": str(place / "cache"),
            CHANNEL: str(sender.fileno()),
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                   "-p", "testing.other_process", "-m", ""]  # fmt: skip
        output = place / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*command, *arguments], cwd=self.root, env=environment, stdout=file,
                stderr=subprocess.STDOUT, pass_fds=[sender.fileno()],
            )  # fmt: skip
        sender.close()
        run = _Running(process, output)
        threading.Thread(target=run.listen, args=(receiver,), daemon=True).start()
        return run


class OtherModule(pytest.File):
    """A file of a suite."""

    suite: Suite

    def collect(self) -> Iterator[pytest.Item]:
        """The tests, asked of a process of the suite."""
        for name in self.suite.names(self.path):
            yield OtherTest.from_parent(self, name=name)


class OtherTest(pytest.Item):
    """A test that another process runs."""

    def runtest(self) -> None:
        """Waits for its report."""
        suite = self.parent.suite  # type: ignore[union-attr]
        outcome, text = suite.result(self.nodeid, self._chosen)
        if outcome != "passed":
            # there is nothing that these tests may lack
            raise AssertionError(f"{outcome} in its process\n{text}")

    def _chosen(self) -> list[str]:
        mine = [item for item in self.session.items if isinstance(item, OtherTest)]
        mine = [item for item in mine if item.parent.suite is self.parent.suite]  # type: ignore[union-attr]
        if hasattr(self.config, "workerinput"):
            # pytest-xdist: other workers run the other files
            mine = [item for item in mine if item.path == self.path]
        return [item.nodeid for item in mine]

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """What the other process said."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is."""
        return self.path, None, self.name


# What follows is the plugin in the other process.


def _channel() -> Connection | None:
    number = os.environ.get(CHANNEL)
    return None if number is None else _open(int(number))


_opened: list[Connection] = []


def _open(number: int) -> Connection:
    if not _opened:
        _opened.append(Connection(number, readable=False))
    return _opened[0]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Names the tests, where that was asked."""
    channel = _channel()
    if channel is not None and session.config.option.collectonly:
        for item in session.items:
            channel.send((item.nodeid, "collected", ""))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Sends the outcome of a test: its call, or what kept it from being called."""
    channel = _channel()
    if channel is None:
        return
    if report.when == "call" or report.outcome != "passed":
        channel.send((report.nodeid, report.outcome, str(report.longrepr or "")))
