from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from testing.processes import read_until

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data import decoding
from rfaconv.lab.data.decoding import DamagedImage
from rfaconv.lab.data.loaders import GlobalBatches
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.recipes import Recipe, read_recipe, recipe_names, recipe_text
from rfaconv.lab.train import WorkerLost, train_recipe
from rfaconv.lab.training.callbacks import DataWait
from rfaconv.lab.training.module import EpochRecord, TrainingDiverged
from rfaconv.lab.training.preemption import Preempted, Preemption
from rfaconv.lab.training.saves import STATE, WEIGHTS, SavingFailed, last_good

SHORT = ["data.limit=128", "epochs=4", "batch_size=32", "model.operator=rfa"]


def short(*more: str):
    return read_recipe("digits", [*SHORT, *more])


def weights(run: Path) -> dict[str, torch.Tensor]:
    path, _ = last_good(run)
    assert path is not None
    return load_file(path / WEIGHTS)


def assert_same(one: Path, other: Path) -> None:
    first, second = (
        json.loads((run / "result.json").read_text(encoding="utf-8")) for run in (one, other)
    )
    assert first["result"] == second["result"]
    for key, value in weights(one).items():
        assert torch.equal(value, weights(other)[key]), key


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train_recipe(short(), out)
    return out


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_read_back(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    (tmp_path / "r.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    assert read_recipe(str(tmp_path / "r.yaml")) == recipe


def test_unknown_keys_name_the_near_one() -> None:
    with pytest.raises(InvalidArgument, match="did you mean epochs"):
        read_recipe("digits", ["epoch=3"])
    with pytest.raises(InvalidArgument, match="did you mean operator"):
        read_recipe("digits", ["model.operatr=rfa"])
    with pytest.raises(InvalidArgument, match="did you mean eurosat"):
        read_recipe("eurosta")
    for key in ("batch-size", "3", "model.drop-rate"):
        with pytest.raises(InvalidArgument, match=f"{key}: expected a known key"):
            read_recipe("digits", [f"{key}=1"])


def test_a_recipe_says_everything_once(tmp_path: Path, capsys) -> None:
    (tmp_path / "r.yaml").write_text("epochs: 3\nmodel:\n  width: 1\n  width: 2", encoding="utf-8")
    assert main(["train", str(tmp_path / "r.yaml")]) == 2
    assert "r.yaml (line 4: the key 'width' twice)" in capsys.readouterr().err
    for text in ("[" * 5000, "{a: 1, a: 2}", "["):
        with pytest.raises(InvalidArgument, match="epochs: expected a value as in YAML"):
            read_recipe("digits", [f"epochs={text}"])


def test_global_batches_are_the_same_for_any_number_of_processes() -> None:
    single = list(GlobalBatches(50, 12, seed=3))
    for world, accumulate in ((2, 1), (2, 3), (1, 4)):
        shares = [list(GlobalBatches(50, 12, 3, r, world, accumulate)) for r in range(world)]
        for step, expected in enumerate(single):
            parts = [share[step * accumulate + a] for share in shares for a in range(accumulate)]
            assert [index for part in parts for index in part] == expected
    with pytest.raises(InvalidArgument, match="multiple of 5 processes"):
        GlobalBatches(50, 12, 3, 0, 5)


def test_truncated_checkpoint_is_left_aside(whole: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "run", []
    train_recipe(short(), out)
    newest, _ = last_good(out)
    assert newest is not None
    content = (newest / STATE).read_bytes()
    (newest / STATE).write_bytes(content[: len(content) // 2])
    train_recipe(short(), out, log=said.append)
    assert "epoch-0004" in said[0] and "bytes, not" in said[0]
    assert "epoch-0003" in said[1]
    assert_same(whole, out)


def test_full_disk_leaves_the_last_checkpoint(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(record: EpochRecord) -> None:
        if record.epoch == 1:  # no file may grow beyond this, which the kernel enforces
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    try:
        with pytest.raises(SavingFailed, match="epoch 3 could not be written"):
            train_recipe(short(), out, on_epoch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    path, damaged = last_good(out)
    assert path is not None
    assert path.name == "epoch-0002"
    assert not damaged
    train_recipe(short(), out)
    assert_same(whole, out)


def test_loss_that_is_no_number_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="not a number in epoch 1"):
        train_recipe(short("optimizer.lr=1e30"), tmp_path / "run")
    assert last_good(tmp_path / "run") == (None, [])


def test_average_accumulation_and_evaluation(tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = short("ema=0.9", "accumulate=2", "channels_last=true", "epochs=2")
    value = train_recipe(recipe, out)
    detail = evaluate_run(out)
    assert detail["top1"] == pytest.approx(value["result"]["top1"], abs=1e-6)
    assert sum(map(sum, detail["confusion"])) == detail["images"] == 450
    assert main(["eval", str(out)]) == 0
    assert (out / "confusion.png").stat().st_size > 1000


def test_warm_start_begins_at_the_plain_networks_accuracy(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    train_recipe(short("model.operator=conv"), plain)
    before = evaluate_run(plain, "best")["top1"]
    warm = short(f"model.warm_start={plain}", "optimizer.lr=1e-9", "epochs=1")
    value = train_recipe(warm, tmp_path / "warm")
    # batch statistics of another order move the running ones a little
    assert value["result"]["top1"] == pytest.approx(before, abs=0.05)
    assert evaluate_run(tmp_path / "warm")["top1"] == pytest.approx(value["result"]["top1"])


def test_a_folder_with_another_run_is_refused(whole: Path, capsys) -> None:
    arguments = ["train", "digits", *SHORT, "seed=9", "--out", str(whole), "--accelerator", "cpu"]
    assert main(arguments) == 2
    assert "run of the same recipe" in capsys.readouterr().err


@pytest.fixture
def crops(tmp_path: Path) -> Recipe:
    """A recipe that decodes small files anew for every batch."""
    from PIL import Image

    for part, count in (("train", 8), ("val", 2)):
        for label in "ab":
            place = tmp_path / "images" / part / label
            place.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40, 30), (index * 9, ord(label), 7)).save(place / f"{index}.png")
    options = [f"data.name=folder:{tmp_path / 'images'}", "data.image_size=24", "data.workers=1",
               "data.evaluation={a: 24, b: 28}", "model.name=small", "epochs=1",
               "batch_size=8"]  # fmt: skip
    return read_recipe("imagenet-resnet18", options)


def test_random_crops_are_the_same_for_any_number_of_workers(crops: Recipe, tmp_path: Path) -> None:
    results = []
    for workers in (0, 2):
        part = crops.data.model_copy(update={"workers": workers})
        value = train_recipe(crops.model_copy(update={"data": part}), tmp_path / str(workers))
        results.append(value["result"])
    assert results[0] == results[1]
    assert results[0]["images"] == 4
    detail = evaluate_run(tmp_path / "0")
    assert detail["images"] == 4
    assert set(detail["evaluations"]) == {"a", "b"}
    assert detail["evaluations"]["a"]["top1"] == detail["top1"]


def test_image_that_is_damaged_while_training_is_named(crops: Recipe, tmp_path: Path) -> None:
    data = recipe_data(crops)
    (tmp_path / "images" / "train" / "b" / "3.png").write_bytes(b"no image")
    with pytest.raises(DamagedImage, match=r"^\S*b/3.png can no longer be read: [^\n]*$"):
        train_recipe(crops, tmp_path / "run", data=data)


def test_worker_that_dies_is_named(
    crops: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recipe_data(crops)
    monkeypatch.setattr(decoding, "decode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(WorkerLost, match=r"decodes images ended.*the same command goes on"):
        train_recipe(crops, tmp_path / "run", data=data)


@pytest.mark.parametrize("more", [(), ("ema=0.9", "accumulate=2", "batch_size=16")])
def test_termination_within_an_epoch_saves_and_goes_on_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    recipe, kept = short("epochs=2", *more), tmp_path / "kept"
    train_recipe(recipe, kept)
    after, handler = Preemption.on_train_batch_end, signal.getsignal(signal.SIGTERM)

    def told(self, trainer, module, outputs, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) in ((0, 2), (1, 0)):
            os.kill(os.getpid(), signal.SIGTERM)
        after(self, trainer, module, outputs, batch, batch_idx)

    monkeypatch.setattr(Preemption, "on_train_batch_end", told)
    saved = []
    for _ in range(2):
        with pytest.raises(Preempted, match="saved in epoch"):
            train_recipe(recipe, tmp_path / "run")
        saved.append(last_good(tmp_path / "run")[0].name[:16])
    assert saved == ["epoch-0000-batch", "epoch-0001-batch"]
    train_recipe(recipe, tmp_path / "run")
    assert_same(kept, tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_termination_leaves_a_run_that_goes_on(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rfaconv.cli.main", "train", "digits", *SHORT,
               "--out", str(out), "--accelerator", "cpu"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    said = read_until(process.stderr, "epoch 1/")
    process.send_signal(signal.SIGTERM)
    error = said + process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert "saved in epoch" in error or "saved after epoch" in error
    assert "terminated; the same command goes on" in error
    train_recipe(short(), out)
    assert_same(whole, out)


def test_waiting_for_data_is_measured_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wait, clock = DataWait(), iter([1.0, 4.0, 5.0, 6.0, 10.0])
    monkeypatch.setattr("rfaconv.lab.training.callbacks.time.perf_counter", lambda: next(clock))
    wait.on_train_epoch_start(None, None)
    for _ in range(2):  # 3 s for images and 1 s of work, then 1 s and 4 s
        wait.on_train_batch_start(None, None)
        wait.on_train_batch_end(None, None)
    assert wait.share == pytest.approx(4 / 9)
    monkeypatch.undo()
    out = tmp_path / "run"
    words = ["data.limit=64", "epochs=1", "batch_size=32", "threads=1"]
    assert main(["train", "digits", *words, "--out", str(out), "--accelerator", "cpu"]) == 0
    share = json.loads((out / "result.json").read_text(encoding="utf-8"))["measured"]["data_wait"]
    assert f"waiting for data {share:.1%}" in capsys.readouterr().out
