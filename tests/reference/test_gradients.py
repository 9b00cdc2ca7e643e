"""Derivatives of the formulas, in float64 and away from the kinks of ReLU and maximum."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from rfaconv import functional as F
from rfaconv import nn, reference
from rfaconv.geometry import Window

OPERATORS = [nn.RFAConv2d, nn.RFCBAMConv2d, nn.RFCAConv2d, nn.UnfoldRFAConv2d]
OPERATORS += [nn.CAMConv2d, nn.CBAMConv2d, nn.CAConv2d]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.__name__)
def test_every_parameter_and_the_input(operator, training):
    layer = operator(3, 4, 3, stride=2, groups=1, dtype=torch.float64).train(training)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)
    buffers = {name: value.clone() for name, value in layer.named_buffers()}

    def function(x, *values):
        state = dict(zip(names, values, strict=True))
        state |= {name: value.clone() for name, value in buffers.items()}
        return torch.func.functional_call(layer, state, (x,))

    assert gradcheck(function, (x, *values), eps=1e-6, atol=1e-6)


def test_patch_moments():
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    window = Window.create(3, (1, 2))
    assert gradcheck(lambda x: reference.patch_moments(x, window), (x,))
    assert gradgradcheck(lambda x: reference.patch_moments(x, window), (x,))


def test_fold_features():
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(18, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    gamma = torch.randn(18, dtype=torch.float64, requires_grad=True)
    beta = torch.randn(18, dtype=torch.float64, requires_grad=True)

    def function(x, weight, gamma, beta):
        state = F.BatchNormState(gamma, beta, None, None, None, 0.1, 1e-5, True)
        return F.fold_features(x, weight, state, Window.create(3))

    assert gradcheck(function, (x, weight, gamma, beta))
