from __future__ import annotations

import json
import os
import random
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
        ("a: &a {key: 1, n: 1}\nb: &b {<<: *a, key: 2}\nc: &c {<<: *b}\nd: {<<: [*c, *a], n: 3}",
         {"a": {"key": 1, "n": 1}, "b": {"key": 2, "n": 1}, "c": {"key": 2, "n": 1},
          "d": {"key": 2, "n": 3}}),
        ("a: &a {key: 1}\nb: &b {key: 2, 1: x}\nc: {<<: [*a, *b], '1': y}",
         {"a": {"key": 1}, "b": {"key": 2, 1: "x"}, "c": {"key": 1, 1: "x", "1": "y"}}),
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


@pytest.mark.parametrize("merged", ["3", "[1]", "[*a, 1]", "text", "[*a, *list]"])
def test_a_merge_of_what_is_no_mapping(merged: str) -> None:
    with pytest.raises(ValueError, match="line 3: << without a mapping"):
        read_yaml(f"a: &a {{x: 1}}\nb: &list [1]\nc: {{<<: {merged}}}")


def test_merges_of_merges() -> None:
    """Any depth, against what the rules of YAML say."""
    for seed in range(300):
        draw, lines, values = random.Random(seed), [], []
        for number in range(draw.randint(2, 6)):
            own = {key: draw.random() for key in draw.sample(["one", "two", "three"], 2)}
            below = draw.sample(range(number), draw.randint(0, number))
            parts = [f"{key}: {value}" for key, value in own.items()]
            if below:
                aliases = ", ".join(f"*m{i}" for i in below)
                parts.insert(draw.randint(0, 2), f"<<: [{aliases}]" if below[1:] or
                             draw.random() < 0.5 else f"<<: {aliases}")  # fmt: skip
            lines.append(f"m{number}: &m{number} {{{', '.join(parts)}}}")
            merged: dict[str, float] = {}
            for i in reversed(below):
                merged |= values[i]
            values.append(merged | own)
        assert list(read_yaml("\n".join(lines)).values()) == values


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "x:\n- a: 1\n  a: 3", "a: {b: 1}\n\na: {c: 2}"]
)
def test_a_key_twice_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line 3: the key 'a' twice"):
        read_yaml(text)
