"""The folder of a run: nothing is left by a refusal, and two trainings do not meet in it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.recipes import read_recipe
from rfaconv.lab.train import train_recipe
from rfaconv.lab.training.run_folder import LOCK_FILE, RECIPE_FILE, check_folder, opened

SHORT = ["data.limit=64", "epochs=1", "batch_size=16"]


@pytest.mark.parametrize(
    "words",
    [
        ["folder", "data.name=folder:nowhere"],
        ["digits", "model.name=resnet19"],
        ["digits", "model.operator=rfb"],
        ["digits", "model.warm_start=gone.safetensors"],
        ["digits", "batch_size=1e20"],
        ["eurosat", "data.root=nowhere"],
        ["digits", "--resume", "perhaps"],
    ],
)
@pytest.mark.parametrize("out", [None, "deep/er/run"])
def test_a_refusal_leaves_nothing_behind(
    words: list[str], out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    more = [] if out is None else ["--out", out]
    assert main(["train", *words, *more, "--accelerator", "cpu"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_refusal_leaves_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    recipe = read_recipe("digits", [*SHORT, "model.name=resnet19"])
    with pytest.raises(InvalidArgument):
        train_recipe(recipe, tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())


def test_the_key_that_differs_is_named(tmp_path: Path) -> None:
    recipe = read_recipe("digits", SHORT)
    with opened(recipe, tmp_path):
        pass
    for change, named in (
        (["seed=3"], "with seed 0, not 3"),
        (["optimizer.lr=0.5"], "with optimizer.lr 0.2, not 0.5"),
        (["model.operator=rfca", "seed=3"], "with model.operator 'rfa', not 'rfca'"),
    ):
        with pytest.raises(InvalidArgument, match=named):
            check_folder(read_recipe("digits", [*SHORT, *change]), tmp_path, "auto", read_recipe)


@pytest.mark.parametrize("content", ["", "[1]", "task: detection", "a: &a {b: *a}", "x: [" * 5000])
def test_a_damaged_recipe_is_another_run(content: str, tmp_path: Path) -> None:
    (tmp_path / RECIPE_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"out: expected .* run of the same recipe") as caught:
        check_folder(read_recipe("digits", SHORT), tmp_path, "auto", read_recipe)
    assert "\n" not in str(caught.value)


def test_what_a_killed_process_left_is_no_other_run(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f".{RECIPE_FILE}.x.tmp").touch()
    check_folder(read_recipe("digits", SHORT), tmp_path, "never", read_recipe)


def test_the_second_training_is_told_so(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", "digits", *SHORT, "epochs=500", "--out", str(out), "--accelerator", "cpu"]
    first = subprocess.Popen([sys.executable, "-m", "rfaconv.cli.main", *words],
                             stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not (out / "checkpoints").exists():
            assert first.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        recipe = read_recipe("digits", [*SHORT, "epochs=500"])
        with pytest.raises(InvalidArgument, match="in which another process is training"):
            train_recipe(recipe, out)
    finally:
        first.kill()
        first.wait()
    # the lock of a killed process is gone with it
    with opened(recipe, out):
        pass


def test_in_one_process_too(tmp_path: Path) -> None:
    recipe = read_recipe("digits", SHORT)
    seen = []

    def second() -> None:
        try:
            with opened(recipe, tmp_path):
                seen.append("both")
        except InvalidArgument as error:
            seen.append(str(error))

    with opened(recipe, tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(seen) == 1 and "another process" in seen[0]
