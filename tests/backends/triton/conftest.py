"""Runs the suites that need a Triton of their own in processes of their own, one test at a time.

Triton decides when it is imported whether kernels are interpreted, and takes one driver for a
process; neither may reach the other tests. So what is collected here under ``interpreted`` and
``compiled`` runs in such a process, which sends the report of every test as it ends. All processes
start with the first of their tests and run side by side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import rfaconv
from rfaconv.backends.triton import support

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CHILD = "RFACONV_TRITON_SUITE"
PATIENCE = 1800
"""Seconds to wait for a test that a process runs after others."""
SUITES = {
    "interpreted": {"TRITON_INTERPRET": "1"},
    "compiled for sm_80": {"RFACONV_TRITON_COMPILE": "1"},
    "compiled for sm_90": {"RFACONV_TRITON_COMPILE": "1"},
}

if not support.installed():
    collect_ignore = ["interpreted", "compiled"]


def suite_of(item: pytest.Item) -> str | None:
    """The suite that a test belongs to; None for one that runs here."""
    parts = item.path.relative_to(HERE).parts if item.path.is_relative_to(HERE) else ()
    if parts[:1] == ("interpreted",):
        return "interpreted"
    if parts[:1] == ("compiled",):
        return "compiled for sm_80" if "sm_80" in item.name else "compiled for sm_90"
    return None


class Suite:
    """A process that runs some tests, and the reports that it has sent."""

    def __init__(self, name: str, tests: list[str], folder: Path) -> None:
        self.name, self.folder = name, folder
        self.reports: dict[str, list[Any]] = defaultdict(list)
        self.ended: set[str] = set()
        self.changed = threading.Condition()
        self.alive = True
        before = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
        reading, writing = os.pipe()
        paths = [str(Path(rfaconv.__file__).parents[1]), str(ROOT), str(HERE)]
        environment = before | SUITES[name] | {
            "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [before.get("PYTHONPATH")])]),
            "TRITON_CACHE_DIR": str(folder / "cache"), CHILD: str(writing),
        }  # fmt: skip
        # the names of the tests are too many for a command line
        (folder / "tests").write_text("\n".join(tests), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*command, str(HERE)], cwd=ROOT, env={**environment, f"{CHILD}_TESTS": str(folder)},
                stdout=output, stderr=subprocess.STDOUT, pass_fds=[writing],
            )  # fmt: skip
        os.close(writing)
        self.pipe = os.fdopen(reading, encoding="utf-8")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self.pipe:
            for line in self.pipe:
                sent = json.loads(line)
                with self.changed:
                    if sent["report"] is None:
                        self.ended.add(sent["test"])
                    else:
                        self.reports[sent["test"]].append(sent["report"])
                    self.changed.notify_all()
        with self.changed:
            self.alive = False
            self.changed.notify_all()

    def wait(self, test: str) -> list[Any]:
        """The reports of a test, once it has ended; none if the process ended without it."""
        with self.changed:
            self.changed.wait_for(lambda: test in self.ended or not self.alive)
            return self.reports[test] if test in self.ended else []

    def output(self) -> str:
        """The end of what the process printed."""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")[-8000:]


class Parent:
    """Hands tests to suites and their reports to the session."""

    def __init__(self) -> None:
        self.suites: dict[str, Suite] = {}
        self.tests: dict[str, list[str]] = defaultdict(list)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes what is to be run, after every choice that the command line makes."""
        for item in session.items:
            suite = suite_of(item)
            if suite is not None:
                self.tests[suite].append(item.nodeid)
                # the process of the suite has the limit of a test; this one waits for all before it
                item.add_marker(pytest.mark.timeout(PATIENCE), append=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Takes the place of running a test."""
        name = suite_of(item)
        if name is None:
            return None
        if not self.suites:
            factory = item.config._tmp_path_factory  # type: ignore[attr-defined]
            for suite, tests in self.tests.items():
                self.suites[suite] = Suite(suite, tests, factory.mktemp("suite"))
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            reports = self.suites[name].wait(item.nodeid)
        except pytest.fail.Exception:  # of the limit
            reports = []
        for data in reports:
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            item.ihook.pytest_runtest_logreport(report=report)
        if not reports:
            said = f"no report from the process {name!r}:\n{self.suites[name].output()}"
            report = pytest.TestReport(
                item.nodeid, item.location, {}, "failed", said, "call", duration=0
            )
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        """Ends what is still running, after a failure that stops the session."""
        for suite in self.suites.values():
            suite.process.kill()
            suite.process.wait()


class Child:
    """Runs the tests that it was told, and sends their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.pipe = os.fdopen(int(os.environ[CHILD]), "w", encoding="utf-8")
        tests = Path(os.environ[f"{CHILD}_TESTS"]) / "tests"
        self.tests = tests.read_text(encoding="utf-8").splitlines()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves the tests that it was told, in their order."""
        order = {name: index for index, name in enumerate(self.tests)}
        items[:] = sorted((i for i in items if i.nodeid in order), key=lambda i: order[i.nodeid])

    def send(self, test: str, report: Any) -> None:
        """One line to the session."""
        self.pipe.write(json.dumps({"test": test, "report": report}) + "\n")
        self.pipe.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sends a report."""
        hook = self.config.hook
        data = hook.pytest_report_to_serializable(config=self.config, report=report)
        self.send(report.nodeid, data)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Says that there are no more."""
        self.send(nodeid, None)


def pytest_configure(config: pytest.Config) -> None:
    """Makes this process one that hands out tests, or one that was handed some."""
    if CHILD in os.environ:
        config.pluginmanager.register(Child(config), "rfaconv-triton-child")
    elif not any(os.environ.get(name) == "1" for own in SUITES.values() for name in own):
        config.pluginmanager.register(Parent(), "rfaconv-triton-parent")
