"""The attention modules against their definitions with stock torch layers."""

import pytest
import torch
from torch import nn

from rfaconv import InvalidArgument
from rfaconv.nn import CAM, CBAM, SE, CoordinateAttention

X = torch.randn(2, 32, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_se():
    module = SE(32, hidden=6).double()
    mean = X.mean((2, 3))
    gate = nn.functional.linear(
        nn.functional.linear(mean, module.fc1.weight).relu(), module.fc2.weight
    )
    torch.testing.assert_close(module(X), X * gate.sigmoid()[..., None, None])


def cam(module, x):
    def mlp(v):
        return module.fc2(module.fc1(v).relu())

    logits = mlp(nn.functional.adaptive_max_pool2d(x, 1)) + mlp(
        nn.functional.adaptive_avg_pool2d(x, 1)
    )
    return x * logits.sigmoid()


def test_cam():
    module = CAM(32).double()
    torch.testing.assert_close(module(X), cam(module, X))


def test_cbam():
    module = CBAM(32).double()
    x = cam(module, X)
    maps = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
    torch.testing.assert_close(module(X), x * module.spatial(maps).sigmoid())


@pytest.mark.parametrize("training", [True, False])
def test_coordinate_attention(training):
    import copy

    module = CoordinateAttention(32).double().train(training)
    twin = copy.deepcopy(module)
    rows = nn.functional.adaptive_avg_pool2d(X, (None, 1))
    cols = nn.functional.adaptive_avg_pool2d(X, (1, None)).transpose(2, 3)
    hidden = nn.functional.hardswish(twin.bn1(twin.conv1(torch.cat([rows, cols], 2))))
    row, col = hidden.split([5, 4], 2)
    expected = X * twin.conv_h(row).sigmoid() * twin.conv_w(col).sigmoid().transpose(2, 3)
    torch.testing.assert_close(module(X), expected)


@pytest.mark.parametrize("module", [CAM, CBAM, CoordinateAttention], ids=lambda m: m.__name__)
def test_gate_map_is_what_multiplies(module):
    layer = module(32).double().eval()
    torch.testing.assert_close(layer(X), X * layer.gate_map(X))


def test_bad_arguments():
    with pytest.raises(InvalidArgument, match="channels: expected"):
        SE(0)
    with pytest.raises(InvalidArgument, match="reduction: expected"):
        CAM(4, reduction=0)
    with pytest.raises(InvalidArgument, match="spatial_kernel_size: expected an odd number, got 4"):
        CBAM(4, spatial_kernel_size=4)
