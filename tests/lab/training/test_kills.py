"""SIGKILL at chosen moments: each run that goes on ends with the bits of one never stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import equal

from rfaconv.lab.recipes import Recipe, read_recipe
from rfaconv.lab.train import train_recipe
from rfaconv.lab.training.preemption import Preemption
from rfaconv.lab.training.saves import WEIGHTS, last_good

# of 12 steps in 3 epochs; of the files and folders that get their name, five to an epoch
STEPS = (1, 4, 5, 9, 12)
RENAMES = (1, 3, 4, 6, 8, 11)
MOMENTS = [("step", number) for number in STEPS] + [("rename", number) for number in RENAMES]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe(
        "digits", ["data.limit=64", "epochs=3", "batch_size=16", "model.operator=rfa"]
    )


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    out = tmp_path_factory.mktemp("whole") / "run"
    result = train_recipe(recipe, out)["result"]
    return result, load_file(last_good(out)[0] / WEIGHTS)


@pytest.fixture(scope="module")
def server() -> Any:
    """Its children start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rfaconv.lab.train", "rfaconv.lab.data.digits", "timm"])
    return context


def train_and_die(recipe: Recipe, out: Path, event: str, number: int) -> None:
    """Ends the process by SIGKILL before the given step ends, or before the given renaming."""
    seen = 0

    def happened() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    if event == "rename":
        place = os.fspath(out)

        def hook(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "os.rename" and os.fspath(arguments[0]).startswith(place):
                happened()

        sys.addaudithook(hook)
    else:
        after = Preemption.on_train_batch_end

        def stepped(*arguments: Any, **named: Any) -> None:
            happened()
            after(*arguments, **named)

        Preemption.on_train_batch_end = stepped  # type: ignore[method-assign]
    train_recipe(recipe, out)


@pytest.mark.parametrize(
    ("event", "number"),
    [
        pytest.param(*moment, marks=() if moment in (("step", 5), ("rename", 8)) else nightly)
        for nightly in [pytest.mark.nightly]
        for moment in MOMENTS
    ],
)
def test_killed_at_a_moment(
    recipe: Recipe, whole: tuple[Any, Any], server: Any, event: str, number: int, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = server.Process(target=train_and_die, args=(recipe, out, event, number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    expected, bits = whole
    assert train_recipe(recipe, out)["result"] == expected
    for key, value in load_file(last_good(out)[0] / WEIGHTS).items():
        assert equal(value, bits[key]), key


def test_killed_before_the_result_was_written(tmp_path: Path) -> None:
    recipe = read_recipe("digits", ["data.limit=64", "epochs=1", "batch_size=16"])
    expected = train_recipe(recipe, tmp_path / "run")["result"]
    (tmp_path / "run" / "result.json").unlink()
    assert train_recipe(recipe, tmp_path / "run")["result"] == expected
