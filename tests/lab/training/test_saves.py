"""Checkpoints of a run: which one is whole, which one is best, whatever lies in their manifests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rfaconv.errors import InvalidArgument
from rfaconv.lab.training.saves import FOLDER, MANIFEST, STATE, WEIGHTS, best_good, check, last_good


def checkpoint(run: Path, epoch: int, **scores: object) -> Path:
    folder = run / FOLDER / f"epoch-{epoch:04d}"
    folder.mkdir(parents=True)
    files = {}
    for name in (WEIGHTS, STATE):
        (folder / name).write_bytes(content := f"{name} {epoch}".encode())
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"epoch": epoch, **scores, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_best_of_old_and_new_manifests(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, val_top1=0.2)
    best = checkpoint(tmp_path, 2, val_top1=0.6)
    checkpoint(tmp_path, 3, score=0.6, score_name="top1")
    newest = checkpoint(tmp_path, 4, score=None, score_name="top1")
    assert best_good(tmp_path) == best
    assert last_good(tmp_path) == (newest, [])


DAMAGED = {
    "empty": "",
    "not an object": "[]",
    "null": "null",
    "deep": "[" * 100_000,
    "not text": b"\xff\xfe\x00",
    "no files": "{}",
    "names nothing": '{"epoch": 2, "score": 0.9, "files": {}}',
    "files is a list": '{"epoch": 2, "score": 0.9, "files": []}',
    "one file": json.dumps({"score": 0.9, "files": {WEIGHTS: {"bytes": 1, "sha256": ""}}}),
    "files are numbers": json.dumps({"score": 0.9, "files": {WEIGHTS: 1, STATE: 2}}),
    "score is a word": None,
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_damaged_manifest_is_left_aside(kind: str, position: int, tmp_path: Path) -> None:
    folders = [checkpoint(tmp_path, epoch, score=0.1 * epoch) for epoch in (1, 2, 3)]
    manifest = folders[position - 1] / MANIFEST
    content = DAMAGED[kind]
    if content is None:
        content = json.dumps(json.loads(manifest.read_text(encoding="utf-8")) | {"score": "high"})
    manifest.write_bytes(content.encode() if isinstance(content, str) else content)
    assert MANIFEST in (check(folders[position - 1]) or "")
    whole = [folder for folder in folders if folder != folders[position - 1]]
    assert best_good(tmp_path) == whole[-1]
    newest, damaged = last_good(tmp_path)
    assert newest == whole[-1]
    assert len(damaged) == (position == 3)


def test_nothing_whole(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 1, score=0.5) / MANIFEST).write_text("null", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="expected a whole checkpoint"):
        last_good(tmp_path)
    with pytest.raises(InvalidArgument, match="with a whole checkpoint"):
        best_good(tmp_path)
