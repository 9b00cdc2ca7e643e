"""Whole networks whose weights are held otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from testing.composition import composed_network
from testing.holding import OPERATORS, assert_near
from torch import nn
from torch.nn.utils import parametrizations, prune

import rfaconv.models  # noqa: F401  # registers the networks

SIZES = ((2, 64, 64), (1, 80, 48), (1, 33, 65))
operators = pytest.mark.parametrize("operator", OPERATORS)
convolutions = (nn.Conv2d, nn.Linear)


def _network(operator: str) -> Any:
    network = timm.create_model(f"{operator}_resnet18", num_classes=10)
    network.train()
    with torch.no_grad():
        network(torch.randn(4, 3, 64, 64))
    network.eval()
    with torch.no_grad():  # whatever is kept is kept
        for batch, height, width in SIZES:
            network(torch.randn(batch, 3, height, width))
    return network


def _assert(network: Any) -> None:
    """Against the same network of torch's layers, which holds its weights in the same way."""
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        first = network(x)  # nobody has run it since the change
        twin = composed_network(copy.deepcopy(network))
        assert_near(first, twin(x), 1e-4, "first")
    for batch, height, width in SIZES:
        x = torch.randn(batch, 3, height, width)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert_near(network(x), twin(x), 1e-4, f"{mode.__name__} {tuple(x.shape)}")
    x = torch.randn(1, 3, 48, 48, requires_grad=True)
    assert_near(network(x), twin(x), 1e-4, "input recorded")


def _each(network: nn.Module, change: Callable[[Any, str], Any]) -> None:
    for module in list(network.modules()):
        if isinstance(module, convolutions):
            change(module, "weight")


@operators
def test_every_convolution_pruned(operator: str) -> None:
    network = _network(operator)
    _each(network, lambda m, n: prune.l1_unstructured(m, n, 0.2))
    _assert(network)
    _each(network, prune.remove)
    _assert(network)


@operators
def test_every_convolution_weight_normed(operator: str) -> None:
    network = _network(operator)
    _each(network, parametrizations.weight_norm)
    _assert(network)


@operators
def test_weights_from_one_vector(operator: str) -> None:
    network = _network(operator)
    vector = nn.utils.parameters_to_vector(network.parameters()).detach() * 1.1
    nn.utils.vector_to_parameters(vector, network.parameters())
    _assert(network)


@operators
def test_lent_weights(operator: str) -> None:
    network = _network(operator)
    lent = {name: p.detach() * 1.05 for name, p in network.named_parameters()}
    x = torch.randn(2, 3, 64, 64)
    other = copy.deepcopy(network)
    other.load_state_dict(lent, strict=False)
    with torch.no_grad():
        found = torch.func.functional_call(network, lent, (x,))
        assert_near(found, composed_network(other)(x), 1e-4, "lent")
    _assert(network)


@operators
def test_loaded_by_assignment(operator: str) -> None:
    network, state = _network(operator), _network(operator).state_dict()
    network.load_state_dict(state, assign=True)
    del state
    _assert(network)
