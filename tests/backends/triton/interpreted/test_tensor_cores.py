"""Features that are a product: what the tiles of the table do not show on maps this small."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rfaconv.backends.cases import Case, Tensors, draw, evaluate
from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.common.operands import Geometry, new_map
from rfaconv.backends.triton.common.tensor_cores import supports
from rfaconv.backends.triton.project import launch as projection
from rfaconv.geometry import Window
from rfaconv.reference.parity import Parity, compare, require
from rfaconv.variants import GATES

BF16 = torch.bfloat16
BASE = Case(batch=2, channels=32, out_channels=7, size=(3, 4), dtype=BF16, channels_last=True)
SIXTEEN = configs.ProjectConfig("tensor_cores", 16, 16, 16, 8, 4, 2)
PANEL = configs.ProjectConfig("panel")


def run(case: Case, inputs: Tensors, config: configs.ProjectConfig) -> Tensor:
    """y with one configuration."""
    x = inputs["x"].to(case.dtype).to(memory_format=torch.channels_last)
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    gate = [inputs[n].float() for n in sorted(inputs) if n.startswith("gate")]
    tail = [inputs[n].to(case.dtype) for n in ("weight", "bias")]
    geometry = Geometry.of(x, case.window.to_ints())
    assert supports(x, geometry)
    y = new_map(x, (case.batch, case.out_channels, *geometry.out)).fill_(torch.nan)
    projection.run_project(x, *rest, gate, *tail, y, case.variant, geometry, config)
    return y


def row(case: Case, inputs: Tensors, config: configs.ProjectConfig) -> Parity:
    plain, oracle = (evaluate(case, inputs, way, gradients=False) for way in ("plain", "oracle"))
    return compare("y", run(case, inputs, config), plain["y"], oracle["y"])


@pytest.mark.parametrize("outputs", [7, 32], ids=["part", "whole"])
@pytest.mark.parametrize("variant", GATES)
def test_sixteen_channels_at_a_time(variant: str, outputs: int) -> None:
    """Two steps of the loop; outputs that leave a part of their block, and two blocks of them."""
    case = replace(BASE, variant=variant, out_channels=outputs)
    require([row(case, draw(case), SIXTEEN)])


@pytest.mark.parametrize("variant", ["rfa", "rfca"])
def test_programs_of_the_panel(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of 24 channels: with 32 the second has eight."""
    monkeypatch.setattr(configs, "PANEL", replace(configs.PANEL, block_p=16))
    monkeypatch.setattr(configs, "panel_groups", lambda *_: 3)
    case = replace(BASE, variant=variant)
    require([row(case, draw(case), PANEL)])


@pytest.mark.parametrize("config", [SIXTEEN, PANEL], ids=["fused", "panel"])
@pytest.mark.parametrize("variant", ["rfcbam", "rfca"])
def test_negative_gates(
    variant: str, config: configs.ProjectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator takes any gates: relu comes before they do."""
    monkeypatch.setattr(configs, "PANEL", replace(configs.PANEL, block_p=16))
    case = replace(BASE, variant=variant)
    inputs = draw(case)
    inputs["gate0"] = -inputs["gate0"]
    require([row(case, inputs, config)])


def test_large_logits() -> None:
    """Attention close to one tap, both signs: the largest logit is the one that is taken off."""
    case = replace(BASE, logits=800.0)
    require([row(case, draw(case), SIXTEEN)])


def test_results_in_another_format() -> None:
    """A map of one pixel is contiguous in both senses; padded, its y has channels first."""
    case = replace(BASE, size=(1, 1), window=Window.create(3, 1, 2))
    inputs = draw(case)
    y = run(case, inputs, SIXTEEN)
    assert y.shape[2:] == (3, 3)
    assert y.is_contiguous()
    require([row(case, inputs, SIXTEEN)])


@pytest.mark.parametrize("variant", GATES)
def test_nan_stays(variant: str) -> None:
    """The windows that see it, and no others."""
    case = replace(BASE, variant=variant, size=(5, 6), batch=1)
    inputs = draw(case)
    inputs["x"][0, 1, 0, 0] = torch.nan
    y = run(case, inputs, SIXTEEN)
    plain = evaluate(case, inputs, "plain", gradients=False)["y"]
    assert torch.equal(y.isnan(), plain.isnan())
    assert y[0, 0].isnan().sum() == 4


def test_maps_that_loads_cannot_take() -> None:
    """Eights that do not begin at multiples of 16 bytes go another way, with the same result."""
    case = replace(BASE, channels=16)
    inputs = draw(case)
    wide = torch.full((2, 24, 3, 4), torch.nan, dtype=BF16).to(memory_format=torch.channels_last)
    geometry = Geometry.of(wide[:, :16], case.window.to_ints())
    assert supports(wide[:, :16], geometry)
    assert supports(wide[:, 8:], geometry)
    assert not supports(wide[:, 4:20], geometry)
    odd = torch.full((2, 20, 3, 4), torch.nan, dtype=BF16).to(memory_format=torch.channels_last)
    assert not supports(odd[:, :16], geometry)
    x = wide[:, 4:20]
    x.copy_(inputs["x"])
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    tail = [inputs[n].to(BF16) for n in ("weight", "bias")]
    gate = [inputs["gate0"].float()]
    y = projection.project(x, *rest, gate, *tail, "rfa", 1, case.window.to_ints())
    plain, oracle = (evaluate(case, inputs, way, gradients=False) for way in ("plain", "oracle"))
    require([compare("y", y, plain["y"], oracle["y"])])
