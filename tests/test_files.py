from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rfaconv.files import read_yaml, strict_json, sync, write_atomic


def test_a_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.json"
    write_atomic(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_json_is_strict() -> None:
    assert json.loads(strict_json({"a": [1, None, "é"]})) == {"a": [1, None, "é"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json({"a": float("nan")})


def test_files_and_folders_are_put_on_the_disk(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "1")
    sync(tmp_path / "a")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "b")


def test_a_folder_that_cannot_be_opened_is_left_to_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a", "1")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    sync(tmp_path)
    with pytest.raises(PermissionError):
        sync(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("- 1", [1]),
        ("base: &b {k: 1}\nx: {y: &a {<<: *b, k: 2}}\nz: *a",
         {"base": {"k": 1}, "x": {"y": {"k": 2}}, "z": {"k": 2}}),
        ("- {a: 1}\n- {a: 2}", [{"a": 1}, {"a": 2}]),
        ("{? [a] : 1, ? [b] : 2}", None),
    ],
)  # fmt: skip
def test_yaml(text: str, value: object) -> None:
    if text.startswith("{?"):  # no key for Python
        with pytest.raises(ValueError, match="line 1"):
            read_yaml(text)
    else:
        assert read_yaml(text) == value


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "x:\n- a: 1\n  a: 3", "a: {b: 1}\n\na: {c: 2}"]
)
def test_a_key_twice_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line 3: the key 'a' twice"):
        read_yaml(text)
