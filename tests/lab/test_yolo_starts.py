"""YOLO networks of a comparison: equal where they share layers; features without a gate."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from rfaconv.errors import InvalidArgument
from rfaconv.lab.recipes import read_recipe

pytest.importorskip("ultralytics")

from rfaconv.integrations.ultralytics import model_config
from rfaconv.lab.tasks.yolo import YoloSets, YoloTask, _curve, started

SETS = YoloSets((), (), ("cell", "dot"), ())


def network(operator: str, seed: int = 3) -> Any:
    words = ["data.size=64", f"seed={seed}", f"model.operator={operator}"]
    return YoloTask().plain(read_recipe("yolo", words), SETS)


@pytest.mark.parametrize("operator", ["rfa", "rfca", "cbam", "features"])
def test_shared_layers_start_from_the_same_numbers(operator: str) -> None:
    plain, other = network("conv").state_dict(), network(operator).state_dict()
    differ = {k for k in plain if not (k in other and torch.equal(plain[k], other[k]))}
    # the six down-samplings alone
    assert {key.split(".")[1] for key in differ} == {"1", "3", "5", "7", "16", "19"}
    another = network("conv", seed=4).state_dict()
    assert not torch.equal(plain["model.0.conv.weight"], another["model.0.conv.weight"])


def test_a_training_starts_from_them() -> None:
    class Base:
        args: Any = type("Args", (), {"seed": 3})

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            return network("rfa", seed=9)

    start = network("rfa")
    trainer = started(Base, start)()
    made = trainer.get_model().state_dict()
    following = torch.rand(4)
    assert all(torch.equal(made[key], value) for key, value in start.state_dict().items())
    trainer.get_model()
    assert torch.equal(following, torch.rand(4))
    kept = trainer.get_model(weights="a checkpoint's").state_dict()
    assert not torch.equal(kept["model.0.conv.weight"], made["model.0.conv.weight"])


def test_features_have_no_gate_and_are_read_back() -> None:
    made = network("features")
    assert not [name for name, _ in made.named_parameters() if "attention" in name]
    rfa = network("rfa")
    assert made.model[3].conv.feature_weight.shape == rfa.model[3].conv.feature_weight.shape
    again = pickle.loads(pickle.dumps(made.eval()))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x)[0], made(x)[0])
        folded = again.fuse(verbose=False)
        assert torch.allclose(folded(x)[0], made(x)[0], atol=1e-3)


def test_a_damaged_table_of_epochs(tmp_path: Path) -> None:
    file = tmp_path / "ultralytics/results.csv"
    file.parent.mkdir()
    head = "epoch,train/box_loss,metrics/mAP50-95(B)\n1,0.5,0.25\n"
    file.write_text(f"{head}2,0.4", encoding="utf-8")  # killed while it was written
    assert [record.score for record in _curve(tmp_path, 3)] == [0.25]
    for damage in ("2,x,0.5\n", "2,1,2,3,4\n"):
        file.write_text(head + damage, encoding="utf-8")
        with pytest.raises(InvalidArgument, match=r"run: expected a table of epochs.*results.csv"):
            _curve(tmp_path, 3)


def test_damaged_weights_of_a_run_are_named(tmp_path: Path) -> None:
    (tmp_path / "ultralytics/weights").mkdir(parents=True)
    (tmp_path / "ultralytics/weights/last.pt").write_bytes(b"")
    with pytest.raises(InvalidArgument, match=r"weights: expected .*last.pt"):
        YoloTask().judge_run(tmp_path, read_recipe("yolo"), SETS)


def test_features_in_blocks_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at: expected down with features"):
        model_config("yolov8n", "features", "blocks")
