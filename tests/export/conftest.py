"""Small networks with every operator, and what is expected of a file."""

import pytest
import torch
from torch import nn

from rfaconv.export import Source
from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d

LAYERS = {**CONVOLUTIONS, "unfold": UnfoldRFAConv2d}
SIZE = (12, 15)
OTHER_SIZES = ((1, 12, 15), (1, 17, 13), (5, 9, 16), (5, 11, 7), (2, 12, 15))
"""Batch, height, width: none of them but the last is what an export sees."""


def randomize(network: nn.Module) -> nn.Module:
    """Statistics and weights as of a trained network: nothing is zero or one."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network.eval()


def _block(operator, channels, stride, **settings):
    layer = LAYERS[operator](channels, 8, 3, stride, **settings)
    return nn.Sequential(layer, nn.BatchNorm2d(8), nn.ReLU())


@pytest.fixture
def block():
    """Makes a network of one operator with the tail that it has in networks."""

    def make(operator, stride=2, **settings):
        return Source(
            randomize(_block(operator, 3, stride, **settings)), operator, SIZE,
            classes=("sea", "wälder"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1),
        )  # fmt: skip

    return make


@pytest.fixture
def seven():
    """A network of all seven operators, one after another, of five classes."""
    layers = [_block(name, 3 if i == 0 else 8, 1 + (i == 3)) for i, name in enumerate(LAYERS)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return Source(randomize(nn.Sequential(*layers, *tail)), "seven", SIZE)


@pytest.fixture
def assert_equal():
    """Asserts that a file's function gives PyTorch's outputs to 1e-5 of the largest."""

    def check(run, network, sizes=OTHER_SIZES):
        for batch, height, width in sizes:
            x = torch.randn(batch, 3, height, width)
            with torch.no_grad():
                expected = network(x)
            found = run(x)
            assert found.shape == expected.shape
            error = (found - expected).abs().max() / expected.abs().max()
            assert error <= 1e-5, (batch, height, width)

    return check
