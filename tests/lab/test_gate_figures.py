"""Figures of gates against what they are by their definitions, and networks without them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from test_own_images import masks
from torch import Tensor, nn

from rfaconv import RFAConv2d, effective_kernels
from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.gates import CHUNK, frozen, gate_figures, watching
from rfaconv.lab.networks.ablations import ValueRFAConv2d
from rfaconv.lab.recipes import read_recipe
from rfaconv.lab.train import train_recipe
from rfaconv.nn import CONVOLUTIONS
from rfaconv.nn._feature import FeatureConv2d

LAYERS = {name: CONVOLUTIONS[name] for name in ("rfa", "rfcbam", "rfca")}
LAYERS["rfa-values"] = ValueRFAConv2d
X = torch.randn(CHUNK + 5, 4, 9, 8, generator=torch.Generator().manual_seed(3))


def network(kind: str, **more: int) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.ReLU(), LAYERS[kind](4, 6, 3, 2, **more), nn.ReLU()).eval()


@pytest.mark.parametrize("kind", LAYERS)
def test_figures_are_those_of_the_gates(kind: str) -> None:
    net = network(kind)
    with torch.no_grad(), watching(net) as watched:
        for part in X.split(7):
            net(part)
    found = watched["1"].figures()
    gate = effective_kernels(net[1], X.relu()).gate.double()
    assert found["windows"] == gate[0, 0, 0].numel() and watched["1"].images == len(X)
    assert found["mean"] == pytest.approx(float(gate.mean()), rel=1e-5)
    assert found["std"] == pytest.approx(float(gate.std(correction=0)), rel=1e-4)
    flat = gate.flatten(3)
    within = [[flat[b, c, t].std(correction=0) for c in range(4) for t in range(9)]
              for b in range(len(X))]  # fmt: skip
    expected = float(torch.tensor(within).mean())
    assert found["between_windows"] == pytest.approx(expected, rel=1e-4)
    between = flat.mean(3).std(0, correction=0).mean()
    assert found["between_images"] == pytest.approx(float(between), rel=1e-4)
    if kind.startswith("rfa"):
        entropy = -(flat * flat.log()).sum(2).mean() / math.log(9)
        assert (found["gate"], found["mean"]) == ("softmax", pytest.approx(1 / 9))
        assert found["entropy"] == pytest.approx(float(entropy), rel=1e-5)
    else:
        assert (found["gate"], found["entropy"]) == ("sigmoid", None)


def test_one_tap_alone_has_no_entropy_and_equal_ones_all() -> None:
    net = network("rfa")
    for scale, entropy in ((0.0, 1.0), (1e4, 0.0)):
        with torch.no_grad():
            net[1].attention_weight.copy_(scale * torch.arange(36.0).view(-1, 1, 1, 1))
            with watching(net) as watched:
                net(X.abs() + 1)
        assert watched["1"].figures()["entropy"] == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_uniform_gates_are_the_softmax_of_equal_logits(groups: int) -> None:
    net = network("rfa", groups=groups)
    calm = frozen(net, {"1": torch.full((4, 9), 1 / 9)})
    assert isinstance(calm[1], FeatureConv2d) and isinstance(net[1], RFAConv2d)
    with torch.no_grad():
        net[1].attention_weight.zero_()
        torch.testing.assert_close(calm(X), net(X))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_constant_gate_is_a_factor_of_the_weight(groups: int) -> None:
    """A gate that differs by channel and tap: the bias of a norm is the only thing left of SE."""
    net = network("rfa", groups=groups)
    gate = torch.rand(4, 9)
    calm = frozen(net, {"1": gate})
    layer = net[1]
    plain = layer.features(X.relu())
    values = nn.functional.conv2d(
        X.relu(), plain.feature_weight.view(-1, 1, 3, 3), plain.feature_bias.flatten(), 2, 1,
        groups=4,
    ).relu()  # fmt: skip
    panel = values.view(len(X), 4, 9, 5, 4) * gate[None, :, :, None, None]
    expected = nn.functional.conv2d(
        panel.flatten(1, 2), layer.weight.flatten(1)[..., None, None], layer.bias, groups=groups
    )
    with torch.no_grad():
        torch.testing.assert_close(calm(X), expected.relu())


def test_scores_with_frozen_gates() -> None:
    net = network("rfa")

    def judge(one: nn.Module) -> dict[str, float]:
        return {"top1": float(one(X).mean())}

    with torch.no_grad():
        found = gate_figures(net, judge, "top1")
        mean = effective_kernels(net[1], X.relu()).gate.mean((0, 3, 4))
        assert found["score"]["trained"] == pytest.approx(judge(net)["top1"])
        assert found["score"]["constant"] == pytest.approx(judge(frozen(net, {"1": mean}))["top1"])
        net[1].attention_weight.zero_()
        assert found["score"]["uniform"] == pytest.approx(judge(net)["top1"], rel=1e-5)
        sigmoid = gate_figures(network("rfca"), judge, "top1")
    assert sigmoid["score"]["uniform"] is None and sigmoid["entropy"] is None
    one = found["layers"]["1"]
    assert found["between_windows"] == pytest.approx(9 * one["between_windows"])


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3), FeatureConv2d(4, 6, 3)])
def test_a_network_without_gates_is_refused(layer: nn.Module) -> None:
    def judge(_: nn.Module) -> dict[str, Tensor]:
        raise AssertionError

    with pytest.raises(InvalidArgument, match="a network with rfa, rfcbam, rfca or rfa-values"):
        gate_figures(nn.Sequential(layer), judge, "top1")


def test_the_command_and_the_epochs_that_a_run_keeps(tmp_path: Path, capsys) -> None:
    options = ["data.limit=200", "epochs=3", "model.operator=rfa", "checkpoints.keep=3"]
    trained = train_recipe(read_recipe("digits", options), tmp_path)["result"]
    assert main(["eval", str(tmp_path), "--gates", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "gates.json").read_text(encoding="utf-8")) == value
    assert value["score"]["trained"] == pytest.approx(trained["top1"])
    assert [row["epoch"] for row in value["epochs"]] == [1, 2, 3]
    assert [row["score"] for row in value["epochs"]] == [r["top1"] for r in trained["curve"]]
    entropies = [row["entropy"] for row in value["epochs"]]
    assert len(set(entropies)) == 3 and entropies[-1] == pytest.approx(value["entropy"])
    assert main(["eval", str(tmp_path), "--gates"]) == 0
    printed = capsys.readouterr().out
    assert f"uniform gates {value['score']['uniform']:.2%}" in printed and "layer1.0" in printed


def test_a_segmenter_is_watched_while_it_is_judged(tmp_path: Path, capsys) -> None:
    masks(tmp_path / "masks")
    words = [str(tmp_path / "masks"), "epochs=1", "batch_size=4", "model.width=0.125"]
    run = str(tmp_path / "run")
    words += ["model.operator=rfcbam", "--accelerator", "cpu", "--out", run]
    assert main(["train", *words]) == 0
    capsys.readouterr()
    assert main(["eval", run, "--gates", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    result = json.loads((tmp_path / "run/result.json").read_text(encoding="utf-8"))["result"]
    assert value["score"]["trained"] == pytest.approx(result["miou"], abs=1e-6)
    assert (value["task"], value["score"]["uniform"]) == ("segment", None)
    assert len(value["layers"]) == 8
