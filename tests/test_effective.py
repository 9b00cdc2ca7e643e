"""The paper's argument (equations 1 to 4) as a measurement."""

import pytest
import torch
from torch import nn

from rfaconv import InvalidArgument, effective_kernels
from rfaconv.nn import CONVOLUTIONS
from rfaconv.reference import features

X = torch.randn(2, 4, 7, 6, generator=torch.Generator().manual_seed(3))


def test_a_convolution_shares_everything():
    result = effective_kernels(nn.Conv2d(4, 6, 3, padding=1), X)
    assert result.sharing == 1.0
    assert result.difference == 0.0


@pytest.mark.parametrize("operator", ["cam", "cbam", "ca"])
def test_a_map_over_pixels_is_shared_by_overlapping_windows(operator):
    result = effective_kernels(CONVOLUTIONS[operator](4, 6, 3).eval(), X)
    assert result.sharing == 1.0


def test_neighbouring_windows_name_the_shared_entries():
    """A12 = A21, A13 = A22: window 1 and its right neighbour see the same pixels."""
    gate = effective_kernels(CONVOLUTIONS["cbam"](4, 6, 3, padding=0).eval(), X).gate
    windows = gate[0, 0, :, 0, :]  # taps of the windows in the first row
    for tap in (1, 4, 7):
        assert windows[tap, 0] == windows[tap - 1, 1]
    for tap in (2, 5, 8):
        assert windows[tap, 0] == windows[tap - 1, 1]
        assert windows[tap, 0] == windows[tap - 2, 2]


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
def test_receptive_field_attention_is_not_shared(operator):
    result = effective_kernels(CONVOLUTIONS[operator](4, 6, 3).eval(), X)
    assert result.sharing < 0.05
    assert result.difference > 1e-3


@pytest.mark.parametrize("operator", ["cbam", "rfa"])
@pytest.mark.parametrize("geometry", [(1, 1), (3, 3)], ids=["kernel 1", "no overlap"])
def test_windows_that_do_not_overlap_share_nothing(operator, geometry):
    kernel, stride = geometry
    result = effective_kernels(CONVOLUTIONS[operator](4, 6, kernel, stride, 0).eval(), X)
    assert result.sharing == 0.0


def test_stride_two_still_shares_the_border_taps():
    result = effective_kernels(CONVOLUTIONS["cbam"](4, 6, 3, 2).eval(), X)
    assert result.sharing == 1.0


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_give_the_output(groups):
    layer = CONVOLUTIONS["rfa"](4, 6, 3, groups=groups).eval().double()
    x = X.double()
    kernels = effective_kernels(layer, x).kernels  # (B, H, W, O, C/g, 3, 3)
    assert kernels.shape == (2, 7, 6, 6, 4 // groups, 3, 3)
    layer_field = layer.features(x)
    f = features(x, layer_field.feature_weight, layer_field.feature_bias, layer_field.window)
    f = f.view(2, groups, 4 // groups, 9, 7, 6)
    k = kernels.view(2, 7, 6, groups, 6 // groups, 4 // groups, 9)
    y = torch.einsum("bhwgoct,bgcthw->bgohw", k, f).reshape(2, 6, 7, 6)
    torch.testing.assert_close(y + layer.bias.view(-1, 1, 1), layer(x))


def test_training_mode_leaves_the_statistics_alone():
    layer = CONVOLUTIONS["rfca"](4, 6, 3)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    effective_kernels(layer, X)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[name], msg=name)


def test_another_module_is_refused():
    with pytest.raises(InvalidArgument, match=r"module: expected a convolution.*Linear"):
        effective_kernels(nn.Linear(4, 6), X)
