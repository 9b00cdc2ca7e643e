"""Each test of the two suites that prove the kernels without a GPU, under its own id.

Triton decides when it is imported whether kernels are interpreted, and takes one driver for a
process; neither may reach the other tests. The suites are long: they run where what they judge is
not as ``verified.json`` says, where ``CI_ALL=1``, and where a path on the command line names them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from testing import triton_sources
from testing.other_process import OtherModule, Suite

HERE = Path(__file__).resolve().parent
SUITES = {
    "interpreted": Suite(HERE / "interpreted", {"TRITON_INTERPRET": "1"}),
    "compiled": Suite(
        HERE / "compiled",
        {"RFACONV_TRITON_COMPILE": "1"},
        lambda name: "sm_80" if "sm_80" in name else "sm_90",
    ),
}
LEFT_OUT: set[Path] = set()


def _wanted(config: pytest.Config) -> bool:
    named = [Path(word.partition("::")[0]).resolve() for word in config.args]
    return (
        os.environ.get("CI_ALL") == "1"
        or any(path == HERE or HERE in path.parents for path in named)
        or bool(triton_sources.changes())
    )


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Collects a file of a suite in another process, if the suite is to run at all."""
    suite = SUITES.get(module_path.parent.name)
    if suite is None or suite.here():
        return None
    module: OtherModule = OtherModule.from_parent(parent, path=module_path)
    module.suite = suite
    if find_spec("triton") is None:
        suite.empty()
    elif not _wanted(parent.config):
        LEFT_OUT.add(module_path)
        suite.empty()
    return module


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says so where the suites were left out."""
    if LEFT_OUT:
        terminalreporter.write_line(
            "Triton suites left out, as all that they judge is as in "
            f"{triton_sources.RECORD.relative_to(triton_sources.ROOT)}; CI_ALL=1 runs them"
        )


def pytest_unconfigure() -> None:
    """Ends the processes of the suites."""
    for suite in SUITES.values():
        suite.close()
