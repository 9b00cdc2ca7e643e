"""Tests that run in another process are judged one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from testing import triton_sources
from testing.other_process import Suite

TESTS = """
import os, pytest

def test_right(): assert os.environ["WANTED"] == "1"
def test_wrong(): assert 1 == 2, "not equal"
def test_lacking(): pytest.skip("lacks something")
@pytest.fixture
def broken(): raise ValueError("no fixture")
def test_without_setup(broken): pass
@pytest.mark.parametrize("text", ["a b", "c::d"])
def test_each(text): pass
def test_dies(): os._exit(3)
def test_after(): pass
"""
OUTCOMES = {
    "test_right": "passed",
    "test_wrong": "failed",
    "test_lacking": "skipped",
    "test_without_setup": "failed",
    "test_each[a b]": "passed",
    "test_each[c::d]": "passed",
    "test_dies": "failed",
    "test_after": "failed",
}


@pytest.fixture
def suite(tmp_path: Path):
    file = tmp_path / "inner" / "test_inner.py"
    file.parent.mkdir()
    file.write_text(TESTS, encoding="utf-8")
    made = Suite(file.parent, {"WANTED": "1"}, lambda n: str("dies" in n), tmp_path)
    yield made, file
    made.close()


def test_every_test_has_its_own_outcome(suite) -> None:
    made, file = suite
    assert not made.here()
    names = made.names(file)
    assert names == list(OUTCOMES)
    ids = [f"inner/test_inner.py::{name}" for name in names]
    chosen = [name for name in ids if "after" not in name]
    found = {name: made.result(f"inner/test_inner.py::{name}", lambda: chosen) for name in names}
    assert {name: outcome for name, (outcome, _) in found.items()} == OUTCOMES
    assert "not equal" in found["test_wrong"][1]
    assert "no fixture" in found["test_without_setup"][1]
    assert "ended with 3" in found["test_dies"][1]


def test_files_asked_one_after_the_other(suite) -> None:
    """As a worker of pytest-xdist does, which is given one file at a time."""
    made, file = suite
    second = file.with_name("test_second.py")
    second.write_text("def test_too(): pass", encoding="utf-8")
    first, later = ["inner/test_inner.py::test_right"], ["inner/test_second.py::test_too"]
    assert made.result(first[0], lambda: first) == ("passed", "")
    assert made.result(later[0], lambda: later) == ("passed", "")


def test_a_file_that_cannot_be_collected_is_an_error(suite) -> None:
    made, file = suite
    file.write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(pytest.Collector.CollectError, match="no_such_module"):
        made.names(file)


def test_changes_of_what_the_triton_suites_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("src/rfaconv/backends/triton/a.py", "testing/b.py", "src/rfaconv/cli/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    monkeypatch.setattr(triton_sources, "ROOT", tmp_path)
    monkeypatch.setattr(triton_sources, "RECORD", tmp_path / "verified.json")
    assert triton_sources.changes() == ["no verified.json"]
    triton_sources.record()
    assert triton_sources.changes() == []
    (tmp_path / "src/rfaconv/cli/c.py").write_text("2", encoding="utf-8")
    assert triton_sources.changes() == []
    (tmp_path / "testing/b.py").unlink()
    (tmp_path / "src/rfaconv/backends/triton/a.py").write_text("2", encoding="utf-8")
    (tmp_path / "src/rfaconv/backends/triton/d.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(triton_sources, "_version", lambda name: "9")
    changed = triton_sources.changes()
    assert [line for line in changed if "->" not in line] == [
        "src/rfaconv/backends/triton/a.py",
        "src/rfaconv/backends/triton/d.py",
        "testing/b.py",
    ]
    assert len(changed) == 3 + len(triton_sources.PACKAGES)
