"""Operators of the laboratory against plain formulas of PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv import RFAConv2d, effective_kernels
from rfaconv.cli.main import main
from rfaconv.lab.networks.ablations import ValueRFAConv2d
from rfaconv.nn._feature import FeatureConv2d


def by_unfold(layer: ValueRFAConv2d, x: Tensor) -> Tensor:
    """Patches, one small matrix a channel for the logits and one for the features, a product."""
    batch, channels, high, wide = x.shape
    stride, groups = layer.stride[0], layer.groups
    patches = F.unfold(x, 3, padding=1, stride=stride).view(batch, channels, 9, -1)
    logits = torch.einsum("cjt,bctp->bcjp", layer.attention_weight.view(channels, 9, 9), patches)
    linear = torch.einsum("cjt,bctp->bcjp", layer.feature_weight.view(channels, 9, 9), patches)
    axes = (0, 3)
    mean, var = linear.mean(axes, keepdim=True), linear.var(axes, unbiased=False, keepdim=True)
    norm = layer.feature_norm
    scale, shift = (p.view(1, channels, 9, 1) for p in (norm.weight, norm.bias))
    features = ((linear - mean) / (var + norm.eps).sqrt() * scale + shift).relu()
    panel = (features * logits.softmax(2)).view(batch, groups, -1, patches.shape[-1])
    weight = layer.weight.reshape(groups, -1, panel.shape[2])
    y = torch.einsum("gok,bgkp->bgop", weight, panel).flatten(1, 2) + layer.bias[:, None]
    return y.view(batch, -1, -(-high // stride), -(-wide // stride))


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_logits_from_the_values_of_a_patch(stride: int, groups: int) -> None:
    torch.manual_seed(0)
    layer = ValueRFAConv2d(4, 6, 3, stride, groups=groups).double()
    torch.nn.init.normal_(layer.feature_norm.weight)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    y, expected = layer(x), by_unfold(layer, x)
    torch.testing.assert_close(y, expected)
    parameters = [x, *layer.parameters()]
    down = torch.randn_like(y)
    ours = torch.autograd.grad(y, parameters, down)
    theirs = torch.autograd.grad(expected, parameters, down)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_logits_from_the_mean_of_a_patch_are_those_of_rfa() -> None:
    torch.manual_seed(0)
    rfa, values = RFAConv2d(4, 6, 3, 2).double().eval(), ValueRFAConv2d(4, 6, 3, 2).double().eval()
    state = rfa.state_dict()
    mean = state["attention_weight"].expand(-1, 1, 3, 3) / 9
    values.load_state_dict({**state, "attention_weight": mean})
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(values(x), rfa(x))
    torch.testing.assert_close(values.fuse()(x), rfa(x))


def test_features_are_rfa_with_uniform_gates_up_to_a_factor() -> None:
    torch.manual_seed(0)
    rfa, features = RFAConv2d(4, 6, 3, bias=False).eval(), FeatureConv2d(4, 6, 3, bias=False).eval()
    torch.nn.init.zeros_(rfa.attention_weight)
    shared = {k: v for k, v in rfa.state_dict().items() if k != "attention_weight"}
    features.load_state_dict({**shared, "weight": rfa.weight / 9})
    x = torch.randn(2, 4, 8, 9)
    torch.testing.assert_close(features(x), rfa(x))


def test_without_attention_every_gate_is_one() -> None:
    layer = FeatureConv2d(4, 6, 3, 2)
    found = effective_kernels(layer, torch.randn(2, 4, 9, 8))
    assert found.gate.shape == (2, 4, 9, 5, 4) and bool((found.gate == 1).all())
    assert found.sharing == 1


def test_a_study_trains_it_and_judges_it_again(tmp_path: Path, capsys) -> None:
    words = ["compare", "digits", "data.limit=64", "--operators", "conv,rfa-values", "--seeds", "1",
             "--epochs", "1", "--jobs", "1", "--out", str(tmp_path)]  # fmt: skip
    assert main(words) == 0
    run = tmp_path / "runs" / "digits-rfa-values-seed0"
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    row = result["recipes"]["digits"]["operators"]["rfa-values"]
    assert found["top1"] == pytest.approx(row["scores"][0])
    assert row["attention_parameters"] == sum((81 + 81 + 18) * c for c in (16, 16, 24, 32))
