"""Statistics of features that are a product, of a map and parameters in 16 bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rfaconv.backends.cases import Case, draw, evaluate
from rfaconv.backends.triton.common import configs
from rfaconv.backends.triton.stats import launch as stats
from rfaconv.backends.triton.stats import tensor_cores as stats_tensor_cores
from rfaconv.geometry import Window
from rfaconv.reference.parity import Parity, compare, require

BF16, F16 = torch.bfloat16, torch.float16
BASE = Case(
    "feature_stats", "rfcbam", batch=3, channels=16, size=(5, 7), dtype=BF16, channels_last=True
)
CASES = [
    BASE,
    replace(BASE, dtype=F16, channels=32, size=(1, 1)),
    replace(BASE, channels=48, size=(9, 3), window=Window.create(3, 2)),
    replace(BASE, dtype=F16, window=Window((3, 3), (2, 1), ((0, 1), (2, 0)), (1, 1))),
    replace(BASE, window=Window((3, 3), (1, 2), ((2, 1), (0, 2)), (2, 1))),
]


def rows(case: Case) -> list[Parity]:
    """Both statistics against plain torch and the reference in float64."""
    inputs = draw(case)
    for name in ("feature_weight", "feature_bias"):
        inputs[name] = inputs[name].to(case.dtype).double()
    x, weight, bias = (
        inputs[name].to(case.dtype) for name in ("x", "feature_weight", "feature_bias")
    )
    x = x.to(memory_format=torch.channels_last)
    got = stats.feature_stats(x, weight, bias, case.variant, case.window.to_ints())
    plain, oracle = (evaluate(case, inputs, way, gradients=False) for way in ("plain", "oracle"))
    return [compare(n, v, plain[n], oracle[n]) for n, v in zip(("s0", "s1"), got, strict=True)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were started."""
    names: list[str] = []
    launch = stats_tensor_cores.launch

    def noted(kernel, *args, **kwargs):  # type: ignore[no-untyped-def]
        names.append(kernel.fn.__name__)
        return launch(kernel, *args, **kwargs)

    monkeypatch.setattr(stats_tensor_cores, "launch", noted)
    return names


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity(case: Case, taken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the tolerance of float32: sums of products of 16 bits lose nothing before they are
    added.
    """
    monkeypatch.setattr(
        configs, "STATS_TENSOR_CORES", replace(configs.STATS_TENSOR_CORES, block_p=16)
    )
    require(rows(case))
    assert taken == ["channels_tensor_cores"]


@pytest.mark.parametrize(
    ("channels", "kept"), [(16, torch.float32), (24, BF16)], ids=["training", "odd"]
)
def test_other_ways(channels: int, kept: torch.dtype, taken: list[str]) -> None:
    """Parameters in float32, whose maximum has a gradient, and an odd number of eights do not."""
    x = torch.ones(1, channels, 2, 2, dtype=BF16).to(memory_format=torch.channels_last)
    weight, bias = torch.ones(channels, 9, 9, dtype=kept), torch.zeros(channels, 9, dtype=kept)
    top, mean = stats.feature_stats(x, weight, bias, "rfcbam", Window.create(3).to_ints())
    assert taken == []
    assert torch.equal(top, torch.full_like(top, 4.0))
    assert torch.equal(mean, top)
