"""SIGKILL at random moments: each run that goes on ends with the bits of one never stopped."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

from safetensors.torch import load_file
from torch import equal

from rfaconv.recipes import read_recipe
from rfaconv.training.run import train_recipe
from rfaconv.training.saves import WEIGHTS, last_good

KILLS = 10


def test_ten_kills_at_random_moments(tmp_path: Path) -> None:
    recipe = read_recipe(
        "digits", ["data.limit=64", "epochs=3", "batch_size=16", "model.operator=rfa"]
    )
    whole = tmp_path / "whole"
    expected = train_recipe(recipe, whole)["result"]
    bits = load_file(last_good(whole)[0] / WEIGHTS)
    # its children start with everything imported, so that most of their life is training
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["rfaconv.training.run", "rfaconv.data.digits", "timm"])

    def start(out: Path) -> multiprocessing.Process:
        process = server.Process(target=train_recipe, args=(recipe, out))
        process.start()
        return process

    start(tmp_path / "first").join()
    begun = time.monotonic()
    start(tmp_path / "second").join()
    length = time.monotonic() - begun
    chance, killed, between = random.Random(0), 0, 0
    for number in range(KILLS):
        out = tmp_path / str(number)
        process = start(out)
        time.sleep(chance.random() * length)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        reached = last_good(out)[0]
        between += reached is not None and reached.name != "epoch-0003"
        assert train_recipe(recipe, out)["result"] == expected
        for key, value in load_file(last_good(out)[0] / WEIGHTS).items():
            assert equal(value, bits[key]), key
    assert killed >= KILLS // 2
    assert between >= 1


def test_killed_before_the_result_was_written(tmp_path: Path) -> None:
    recipe = read_recipe("digits", ["data.limit=64", "epochs=1", "batch_size=16"])
    expected = train_recipe(recipe, tmp_path / "run")["result"]
    (tmp_path / "run" / "result.json").unlink()
    assert train_recipe(recipe, tmp_path / "run")["result"] == expected
