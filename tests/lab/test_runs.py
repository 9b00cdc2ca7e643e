"""Recipes of detectors and segmenters carried out: the folders, the saves and the commands."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data, recipe_network
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.predict.networks import read_network
from rfaconv.lab.recipes import read_recipe, recipe_text
from rfaconv.lab.train import train_recipe
from rfaconv.lab.training.module import TrainingDiverged
from rfaconv.lab.training.preemption import Preempted, Preemption
from rfaconv.lab.training.saves import WEIGHTS, last_good
from rfaconv.nn import CONVOLUTIONS

TASKS = ("detect", "segment")
SIZE = 64
NETWORK = ["epochs=2", "batch_size=4", "model.width=0.25", "threads=1"]
OPTIONS = {
    "detect": ["bccd-fcos", "model.size=64", *NETWORK],
    "segment": [
        "camvid-unet", "data.classes=[dark, bright]", "data.image_size=null", "data.val=train",
        *NETWORK,
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bright square in each of 12 images: its box as VOC, its pixels as a mask."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "train", "trainannot"):
        (root / name).mkdir(parents=True)
    stems = [f"{index:02d}" for index in range(12)]
    for index, stem in enumerate(stems):
        x, y = 3 * index, 33 - 3 * index
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[y : y + 28, x : x + 28] = 1
        picture = Image.fromarray(np.repeat(mask[:, :, None] * 180 + 30, 3, axis=2))
        picture.save(root / "JPEGImages" / f"{stem}.jpg")
        picture.save(root / "train" / f"{stem}.png")
        Image.fromarray(mask).save(root / "trainannot" / f"{stem}.png")
        (root / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename><object><name>square</name><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + 28}</xmax><ymax>{y + 28}</ymax>"
            "</bndbox></object></annotation>",
            encoding="utf-8",
        )
    for split in ("train", "test"):
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems), encoding="utf-8")
    return root


def read(task: str, root: Path, *more: str):
    name, *options = OPTIONS[task]
    return read_recipe(name, [*options, f"data.root={root}", *more])


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = {task: tmp_path_factory.mktemp("runs") / task for task in TASKS}
    for task, out in runs.items():
        train_recipe(read(task, pictures), out)
    return runs


def weights(run: Path) -> dict[str, torch.Tensor]:
    path, _ = last_good(run)
    assert path is not None
    return load_file(path / WEIGHTS)


def result(run: Path):
    return json.loads((run / "result.json").read_text(encoding="utf-8"))["result"]


@pytest.mark.parametrize("task", TASKS)
def test_termination_within_an_epoch_saves_and_goes_on_with_the_same_bits(
    task: str, whole: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch
) -> None:
    after, handler = Preemption.on_train_batch_end, signal.getsignal(signal.SIGTERM)

    def told(self, trainer, module, outputs, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) in ((0, 1), (1, 0)):
            os.kill(os.getpid(), signal.SIGTERM)
        after(self, trainer, module, outputs, batch, batch_idx)

    monkeypatch.setattr(Preemption, "on_train_batch_end", told)
    recipe, out, saved = read(task, pictures), tmp_path / "run", []
    for _ in range(2):
        with pytest.raises(Preempted, match="saved in epoch"):
            train_recipe(recipe, out)
        saved.append(last_good(out)[0].name)
    assert saved == ["epoch-0000-batch-000002", "epoch-0001-batch-000001"]
    train_recipe(recipe, out)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert result(out) == result(whole[task])
    for key, value in weights(whole[task]).items():
        assert torch.equal(value, weights(out)[key]), key


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_judged_again_and_predicts(
    task: str, whole: dict[str, Path], pictures: Path, tmp_path: Path, capsys
) -> None:
    run, key = whole[task], {"detect": "map", "segment": "miou"}[task]
    value = evaluate_run(run)
    assert value[key] == pytest.approx(result(run)[key], abs=1e-6)
    assert value["images"] == 12 and len(value["per_class"]) == len(value["classes"])
    assert json.loads((run / "eval.json").read_text(encoding="utf-8")) == value
    assert len((run / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert main(["eval", str(run), "--best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == task
    words = ["predict", str(run / "predictor.safetensors"), str(pictures / "train" / "03.png")]
    assert main([*words, "--threshold", "0", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))["pictures"]


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_in_use_is_refused(
    task: str, whole: dict[str, Path], pictures: Path, tmp_path: Path, capsys
) -> None:
    name, *options = OPTIONS[task]
    words = ["train", name, *options, f"data.root={pictures}", "--accelerator", "cpu", "--out"]
    before = result(whole[task])
    assert main([*words, str(whole[task]), "seed=9"]) == 2
    assert "run of the same recipe" in capsys.readouterr().err
    assert main([*words, str(whole[task]), "--resume", "never"]) == 2
    assert "a new folder with resume never" in capsys.readouterr().err
    (tmp_path / "letter.txt").write_text("not a run", encoding="utf-8")
    assert main([*words, str(tmp_path)]) == 2
    assert "a new folder or a run of this recipe" in capsys.readouterr().err
    assert result(whole[task]) == before
    # a finished run has nothing left to do and says the same again
    assert main([*words, str(whole[task])]) == 0
    assert "of 12 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bccd-fcos", "epoch=3"], "did you mean epochs"),
        (
            ["bccd-fcos", "model.kind=unet"],
            "model.kind: expected 'fcos', 'retinanet'",
        ),
        (["camvid-unet", "data.classes=[]"], "data.classes"),
        (["camvid-unet", "model.size=64"], "model.size: expected a known key in model"),
        (["bccd-fcos", "data.root=nowhere"], "data.root: expected a folder, got nowhere"),
        (["bccd-fcos", "data.val=none", "data.root=ROOT"], "split: expected one of test, train"),
        (["bccd-fcos", "data.root=ROOT", "--devices", "2"], "devices: expected 1 process"),
        (["bccd-fcsos"], "did you mean bccd-fcos"),
    ],
)
def test_bad_requests_write_nothing(
    words: list[str], said: str, pictures: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [w.replace("ROOT", str(pictures)) for w in words]
    assert main(["train", *words, "--accelerator", "cpu"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_runs(tmp_path: Path, capsys) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    (tmp_path / "recipe.yaml").write_text(recipe_text(read_recipe("bccd-fcos")), encoding="utf-8")
    assert main(["eval", str(tmp_path)]) == 2
    assert "a run folder with a whole checkpoint" in capsys.readouterr().err


def test_problems_are_named_and_with_strict_fatal(pictures: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets"):
        root.mkdir(exist_ok=True)
        (root / name).symlink_to(pictures / name)
    (root / "Annotations").unlink()
    (root / "Annotations").mkdir()
    for file in (pictures / "Annotations").iterdir():
        if file.stem != "05":
            (root / "Annotations" / file.name).write_bytes(file.read_bytes())
    said: list[str] = []
    recipe = read("detect", root, "epochs=1")
    train_recipe(recipe, tmp_path / "run", log=said.append)
    assert said[0] == "11 images to learn from, 11 to judge on"
    assert sum("05.xml: missing label" in line for line in said) == 2
    name, *options = OPTIONS["detect"]
    words = ["train", name, *options, f"data.root={root}", "--out", str(tmp_path / "strict")]
    assert main([*words, "--strict"]) == 2
    assert "05.xml: missing label" in capsys.readouterr().err
    assert not (tmp_path / "strict").exists()


def test_a_loss_that_is_no_number_saves_nothing(pictures: Path, tmp_path: Path) -> None:
    recipe = read("segment", pictures, "optimizer.lr=1e30", "optimizer.name=sgd")
    with pytest.raises(TrainingDiverged, match="not a number in epoch"):
        train_recipe(recipe, tmp_path / "run")
    assert last_good(tmp_path / "run") == (None, [])


@pytest.mark.parametrize("task", TASKS)
def test_a_warm_start_computes_what_the_plain_network_does(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    plain = read(task, pictures, "model.operator=conv", "epochs=1")
    train_recipe(plain, tmp_path / "plain")
    warm = read(task, pictures, f"model.warm_start={tmp_path / 'plain'}", "epochs=1")
    sets = recipe_data(warm)
    before = recipe_network(read(task, pictures, "model.operator=conv",
                               f"model.warm_start={tmp_path / 'plain'}"), sets)  # fmt: skip
    after = recipe_network(warm, sets)
    part = {"detect": lambda n: n.backbone, "segment": lambda n: n}[task]
    assert sum(isinstance(m, CONVOLUTIONS["rfa"]) for m in after.modules()) == 8
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        one, two = part(before).eval()(x), part(after).eval()(x)
    for a, b in zip(_maps(one), _maps(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    # the same network is built again from its checkpoint, and from its predictor
    train_recipe(warm, tmp_path / "warm")
    train_recipe(warm, tmp_path / "warm")  # goes on, although there is nothing left to do
    assert evaluate_run(tmp_path / "warm")["images"] == 12
    network, _ = read_network(tmp_path / "warm" / "predictor.safetensors")
    state = network.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in weights(tmp_path / "warm").items())


def _maps(found):
    return list(found.values()) if isinstance(found, dict) else [found]


def test_classes_that_no_box_has(pictures: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"images with boxes .* 12 images .* unknown class"):
        recipe_data(read("detect", pictures, "data.classes=[circle]"))


@pytest.mark.parametrize("task", TASKS)
def test_networks_of_tasks_learn(task: str, pictures: Path, tmp_path: Path) -> None:
    options = ["optimizer.lr=2e-3", "epochs=8"]
    value = train_recipe(read(task, pictures, *options), tmp_path / "run")["result"]
    curve = value["curve"]
    assert curve[-1]["train_loss"] < 0.85 * curve[0]["train_loss"]
    assert [row["steps"] for row in curve] == [3 * n for n in range(1, 9)]
    assert value["score_name"] == {"detect": "map", "segment": "miou"}[task]
    if task == "segment":
        assert value["miou"] > 0.8


def test_ablations_and_runs_of_before(pictures: Path, tmp_path: Path) -> None:
    recipe = read("segment", pictures, "model.operator=features", "epochs=1")
    train_recipe(recipe, tmp_path / "run")
    assert evaluate_run(tmp_path / "run")["images"] == 12
    file = tmp_path / "run" / "recipe.yaml"
    text = file.read_text(encoding="utf-8").replace("task: segment", "task: segmentation")
    file.write_text(text, encoding="utf-8")
    assert read_recipe(str(file)) == recipe


def test_several_seeds_and_loggers(pictures: Path, tmp_path: Path, capsys) -> None:
    words = ["train", "digits", "data.limit=32", "batch_size=16", "epochs=1", "seed=0,3",
             "--accelerator", "cpu", "--out", str(tmp_path / "run")]  # fmt: skip
    assert main([*words, "--log", "csv"]) == 0
    printed = capsys.readouterr().out
    scores = [json.loads((tmp_path / f"run/seed{n}/result.json").read_text(encoding="utf-8"))
              ["result"]["top1"] for n in (0, 3)]  # fmt: skip
    assert f"top-1 {sum(scores) / 2:.2%} ±" in printed and "of 2 seeds" in printed
    assert (tmp_path / "run/seed0/log/metrics.csv").is_file()
    assert not (tmp_path / "run/seed0/tensorboard").exists()
    assert main([*words[:5], "--log", "csv,wandbb", "--out", str(tmp_path / "no")]) == 2
    assert "did you mean wandb" in capsys.readouterr().err
    assert main([*words[:5], "seed=1,x", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
