import pytest
import torch
from torch import nn

from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d

LAYERS = {**CONVOLUTIONS, "unfold": UnfoldRFAConv2d}


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and weights as of a trained network: nothing is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network.eval()


def block(operator: str, stride: int = 2, **settings) -> nn.Module:
    """An operator with the tail that it has in networks."""
    layer = LAYERS[operator](3, 8, 3, stride, **settings)
    return randomize(nn.Sequential(layer, nn.BatchNorm2d(8), nn.ReLU()))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pictures(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randn(batch, 3, height, width, generator=generator)


def assert_equal(found: torch.Tensor, network: nn.Module, x: torch.Tensor) -> None:
    """Equal to PyTorch to 1e-5 of the largest output."""
    with torch.no_grad():
        expected = network(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
