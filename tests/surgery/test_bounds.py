"""Bounds hold for whatever the values are: checked against the values themselves."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfaconv.surgery.bounds import UNKNOWN, BoundsMode, Interval

SILU = -0.27846454

CASES = {
    "relu": (F.relu, 0.0, math.inf),
    "relu_inplace": (lambda x: x.clone().relu_(), 0.0, math.inf),
    "relu6": (F.relu6, 0.0, 6.0),
    "silu": (F.silu, SILU, math.inf),
    "silu_of_relu": (lambda x: F.silu(F.relu(x)), 0.0, math.inf),
    "hardswish": (F.hardswish, -0.375, math.inf),
    "gelu": (F.gelu, -0.17, math.inf),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), -0.17005, math.inf),
    "mish": (F.mish, -0.30885, math.inf),
    "elu": (lambda x: F.elu(x, 1.5), -1.5, math.inf),
    "selu": (F.selu, -1.7581, math.inf),
    "celu": (lambda x: F.celu(x, 2.0), -2.0, math.inf),
    "leaky_of_bounded": (lambda x: F.leaky_relu(torch.tanh(x) * 2, 0.1), -0.2, 2.0),
    "sigmoid": (torch.sigmoid, 0.0, 1.0),
    "softmax": (lambda x: x.softmax(1), 0.0, 1.0),
    "softplus": (F.softplus, 0.0, math.inf),
    "clamp": (lambda x: x.clamp(-1, 2), -1.0, 2.0),
    "clamp_min": (lambda x: x.clamp(min=-0.5), -0.5, math.inf),
    "sum": (lambda x: F.silu(x) + F.relu(x), SILU, math.inf),
    "sum_twice": (lambda x: F.silu(x) + F.silu(x + 1), 2 * SILU, math.inf),
    "plus_number": (lambda x: F.relu(x) + 1.5, 1.5, math.inf),
    "minus": (lambda x: F.relu(x) - torch.sigmoid(x), -1.0, math.inf),
    "squeeze_excite": (lambda x: F.silu(x) * torch.sigmoid(-x), SILU, math.inf),
    "negated": (lambda x: F.relu(x) * -2.0, -math.inf, 0.0),
    "divided": (lambda x: F.relu6(x) / -2.0, -3.0, 0.0),
    "cat": (lambda x: torch.cat([F.relu(x), torch.tanh(x)], 1), -1.0, math.inf),
    "chunk": (lambda x: F.silu(x).chunk(2, 1)[1], SILU, math.inf),
    "views": (lambda x: F.silu(x).permute(0, 2, 3, 1).flatten(1)[:, ::2], SILU, math.inf),
    "max_pool": (lambda x: F.max_pool2d(F.silu(x), 3, 2, 1), SILU, math.inf),
    "avg_pool": (lambda x: F.avg_pool2d(F.relu(x) + 1, 3, 2, 1), 0.0, math.inf),
    "adaptive_pool": (lambda x: F.adaptive_avg_pool2d(F.relu6(x), 2), 0.0, 6.0),
    "mean": (lambda x: F.silu(x).mean((2, 3), keepdim=True), SILU, math.inf),
    "nearest": (lambda x: F.interpolate(F.silu(x), scale_factor=2.0), SILU, math.inf),
    "bilinear": (lambda x: F.interpolate(F.relu(x), size=9, mode="bilinear"), 0.0, math.inf),
    "pad": (lambda x: F.pad(F.relu(x) + 1, (1, 1), value=-3.0), -3.0, math.inf),
    "square": (lambda x: x * x, 0.0, math.inf),
    "blur": (lambda x: F.conv2d(F.relu(x), x.new_ones(1, 4, 3, 3)), 0.0, math.inf),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_interval_is_right_and_tight(name, dtype):
    function, low, high = CASES[name]
    x = (3 * torch.randn(3, 4, 7, 6)).to(dtype)
    with torch.no_grad(), BoundsMode() as bounds:
        y = function(x)
        found = bounds.of(y)
    assert found.low <= y.min().item()
    assert found.high >= y.max().item()
    slack = 1e-4 if dtype == torch.float32 else 0.4
    assert found.low == pytest.approx(low, abs=slack)
    assert found.high == pytest.approx(high, abs=slack)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: F.conv2d(F.relu(x), -x.new_ones(1, 4, 3, 3)),
        lambda x: F.batch_norm(F.relu(x), x.new_zeros(4), x.new_ones(4)),
        lambda x: F.interpolate(F.relu(x), size=9, mode="bicubic"),
        lambda x: F.relu(x).to(torch.int32),
        lambda x: F.relu(x).view(torch.int32).bitwise_or(1 << 31).view(torch.float32),
        lambda x: F.leaky_relu(x),
    ],
    ids=["input", "conv", "norm", "bicubic", "integers", "bits", "leaky"],
)
def test_nothing_is_claimed_without_reason(function):
    with torch.no_grad(), BoundsMode() as bounds:
        assert bounds.of(function(torch.randn(3, 4, 7, 6))).low == -math.inf


def test_writing_in_place_forgets_every_view():
    with torch.no_grad(), BoundsMode() as bounds:
        x = F.relu(torch.randn(2, 4))
        part = x[:, :2]
        assert bounds.of(part) == Interval(0.0, math.inf)
        part.sub_(5)
        assert bounds.of(x) == UNKNOWN
        assert bounds.of(part).low == pytest.approx(-5, abs=1e-4)
        x.relu_()
        assert bounds.of(x) == Interval(0.0, math.inf)
        x.copy_(torch.randn(2, 4))
        assert bounds.of(x) == UNKNOWN


def test_bounds_follow_a_network():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, x):
            return x + F.silu(self.norm(self.conv(x)), inplace=True)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), Block(), Block()).eval()
    with torch.no_grad(), BoundsMode() as bounds:
        y = network(torch.randn(1, 3, 9, 9))
        assert bounds.of(y).low == pytest.approx(3 * SILU, abs=1e-5)
        assert bounds.of(y).low <= y.min().item()
