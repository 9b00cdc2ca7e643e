"""What eager quantisation is told."""

import pytest
import torch
from torch import nn

import rfaconv
from rfaconv.errors import InvalidArgument


@pytest.mark.filterwarnings("ignore")
def test_eager_quantisation_is_told_where_to_go():
    from torch.ao import quantization

    net = nn.Sequential(quantization.QuantStub(), rfaconv.RFAConv2d(3, 4, 3)).eval()
    net.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(net)
    prepared(torch.randn(1, 3, 8, 8))
    with pytest.raises(InvalidArgument, match=r"rfaconv\.export with dtype='int8'.*qconfig=None"):
        quantization.convert(prepared)(torch.randn(1, 3, 8, 8))
