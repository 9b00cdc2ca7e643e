"""Folding BatchNorms for deployment."""

import copy

import pytest
import torch
from torch import nn

from rfaconv import InvalidArgument
from rfaconv.nn import CONVOLUTIONS, ConvNormAct, RFAConv2d

RECEPTIVE_FIELD = ["rfa", "rfcbam", "rfca"]


def trained(operator, dtype=torch.float64):
    layer = CONVOLUTIONS[operator](4, 6, 3, dtype=dtype)
    for _ in range(3):
        layer(2 + torch.randn(3, 4, 6, 7, dtype=dtype))
    return layer.eval()


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD)
class TestFuse:
    def test_keeps_the_output_and_returns_the_layer(self, operator):
        layer = trained(operator)
        x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
        expected = layer(x)
        assert layer.fuse() is layer
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
        assert layer.fuse() is layer
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
        kept = [m for m in layer.feature_norm.modules() if isinstance(m, nn.BatchNorm2d)]
        assert not kept

    def test_a_fused_state_loads_into_a_new_layer(self, operator):
        layer = trained(operator).fuse()
        x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
        other = CONVOLUTIONS[operator](4, 6, 3, dtype=torch.float64).eval()
        other.load_state_dict(layer.state_dict())
        torch.testing.assert_close(other(x), layer(x))

    def test_a_fused_state_of_another_size_leaves_the_layer_as_it_is(self, operator):
        layer = trained(operator)
        before = {key: value.clone() for key, value in layer.state_dict().items()}
        state = CONVOLUTIONS[operator](5, 6, 3, dtype=torch.float64).fuse().state_dict()
        fitting = {key: v for key, v in state.items() if key.startswith("feature_")}
        with pytest.raises(RuntimeError, match="feature_bias"):
            layer.load_state_dict(fitting, strict=True)
        assert isinstance(layer.feature_norm, nn.BatchNorm2d)
        after = layer.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_torch_folds_the_norm_behind(self, operator):
        layer = trained(operator)
        norm = nn.BatchNorm2d(6, dtype=torch.float64).eval()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        fused = nn.utils.fuse_conv_bn_eval(layer, norm)
        assert type(fused) is type(layer)
        x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
        torch.testing.assert_close(fused(x), norm(layer(x)), rtol=1e-12, atol=1e-12)


def test_without_running_statistics_there_is_nothing_to_fold():
    layer = RFAConv2d(4, 6, 3)
    layer.feature_norm = nn.BatchNorm2d(36, track_running_stats=False)
    with pytest.raises(InvalidArgument, match="feature_norm: expected running statistics"):
        layer.fuse()


def test_another_norm_cannot_be_folded():
    layer = RFAConv2d(4, 6, 3)
    layer.feature_norm = nn.GroupNorm(1, 36)
    with pytest.raises(InvalidArgument, match=r"expected a BatchNorm.*GroupNorm"):
        layer.fuse()


@pytest.mark.parametrize("operator", sorted(CONVOLUTIONS))
def test_block_fuses_both_norms(operator):
    block = ConvNormAct(CONVOLUTIONS[operator](4, 6, 3, bias=False, dtype=torch.float64))
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    for _ in range(2):
        block(1 + 2 * x)
    block.eval()
    expected = copy.deepcopy(block)(x)
    assert block.fuse() is block
    assert isinstance(block.norm, nn.Identity)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)
