"""Pruned, normed and parametrized weights: plain attributes that a hook writes anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing.holding import assert_composed, for_every_parameter, held, layers, owner
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

# old norms are what published networks still use
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated:FutureWarning"),
]


def _owners(layer: Any, least: int = 1) -> list[tuple[Any, str]]:
    return [owner(layer, name) for name, p in layer.named_parameters() if p.dim() >= least]


@layers
def test_pruning(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        prune.l1_unstructured(module, name, 0.3)
        assert_composed(layer)
        prune.random_unstructured(module, name, 0.3)  # a second time, on what the first left
        assert_composed(layer, recorded=False, training=False)
        prune.remove(module, name)
        assert_composed(layer, recorded=False, training=False)

    for_every_parameter(operator, check)


def _mask(module: Any, name: str) -> None:
    prune.custom_from_mask(module, name, torch.rand(getattr(module, name).shape) > 0.3)


PRUNING: dict[str, tuple[int, Callable[[Any, str], Any]]] = {
    "random_unstructured": (1, lambda m, n: prune.random_unstructured(m, n, 0.3)),
    "custom_from_mask": (1, _mask),
    "random_structured": (2, lambda m, n: prune.random_structured(m, n, 0.4, dim=0)),
    "ln_structured": (2, lambda m, n: prune.ln_structured(m, n, 0.4, n=2, dim=0)),
}


@layers
@pytest.mark.parametrize("method", PRUNING)
def test_pruning_of_every_parameter(operator: str, method: str) -> None:
    layer = held(operator)
    least, apply = PRUNING[method]
    for module, name in (owners := _owners(layer, least)):
        apply(module, name)
    assert_composed(layer)
    for module, name in owners:
        prune.remove(module, name)
    assert_composed(layer, recorded=False, training=False)


@layers
def test_global_pruning(operator: str) -> None:
    layer = held(operator)
    prune.global_unstructured(_owners(layer), prune.L1Unstructured, amount=0.5)
    assert_composed(layer)


@layers
def test_a_fused_layer_that_is_pruned(operator: str) -> None:
    layer = held(operator)
    if not hasattr(layer, "fuse"):
        pytest.skip("the layer has no norm to fold")
    layer.fuse()
    with torch.no_grad():
        layer(torch.randn(2, 8, 6, 5))
    for module, name in _owners(layer):
        prune.l1_unstructured(module, name, 0.3)
    assert_composed(layer)


class _Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


@layers
def test_parametrize(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        parametrize.register_parametrization(module, name, _Doubled())
        assert_composed(layer)
        with torch.no_grad():
            module.parametrizations[name].original.mul_(3)
        with parametrize.cached():
            assert_composed(layer, recorded=False, training=False)
        parametrize.remove_parametrizations(module, name)
        assert_composed(layer, recorded=False, training=False)

    for_every_parameter(operator, check)


class _Standardised(nn.Module):
    """Weight standardisation: every row has mean 0 and variance near 1."""

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.reshape(len(weight), -1)
        variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
        return ((rows - mean) / (variance + 1).sqrt()).view_as(weight)


class _LowRank(nn.Module):
    """An adapter: the weight and a product of two thin matrices of its own."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.reshape(len(weight), -1)
        self.a = nn.Parameter(torch.randn(len(rows), 1))
        self.b = nn.Parameter(torch.randn(1, rows.shape[1]) * 0.1)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.a @ self.b).view_as(weight)


class _Transposed(nn.Module):
    """Gives the same numbers in another layout."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, -1).contiguous().transpose(0, -1)


PARAMETRIZATIONS: dict[str, Callable[[Tensor], nn.Module]] = {
    "standardised": lambda weight: _Standardised(),
    "low rank": _LowRank,
    "another layout": lambda weight: _Transposed(),
}


@layers
@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_parametrize_of_every_weight(operator: str, kind: str) -> None:
    layer = held(operator)
    for module, name in _owners(layer, 2):
        parametrization = PARAMETRIZATIONS[kind](getattr(module, name))
        parametrize.register_parametrization(module, name, parametrization)
    assert_composed(layer)


class _Counted(nn.Module):
    """Counts the looks at a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, parameter: Tensor) -> Tensor:
        self.looks += 1
        return parameter * 1


@layers
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_training_reads_every_parameter_once(operator: str, padding_mode: str) -> None:
    layer = held(operator, padding_mode=padding_mode).train()
    counters = {}
    for path in [path for path, _ in layer.named_parameters()]:
        module, name = owner(layer, path)
        counters[path] = _Counted()
        parametrize.register_parametrization(module, name, counters[path])
    for counter in counters.values():
        counter.looks = 0
    layer(torch.randn(2, 8, 6, 5)).sum().backward()
    # channel attention is applied to maximum and mean: these layers run twice, as in torch
    twice = ("attention.fc1.weight", "attention.fc2.weight") if operator in ("cam", "cbam") else ()
    assert {path: c.looks for path, c in counters.items()} == {
        path: 2 if path in twice else 1 for path in counters
    }


NORMS: dict[str, tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]] = {
    "weight_norm": (nn.utils.weight_norm, nn.utils.remove_weight_norm),
    "spectral_norm": (nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
    "parametrizations.weight_norm": (
        parametrizations.weight_norm,
        parametrize.remove_parametrizations,
    ),
    "parametrizations.spectral_norm": (
        parametrizations.spectral_norm,
        parametrize.remove_parametrizations,
    ),
    "parametrizations.orthogonal": (
        parametrizations.orthogonal,
        parametrize.remove_parametrizations,
    ),
}


@layers
@pytest.mark.parametrize("kind", NORMS)
def test_norm_of_a_weight(operator: str, kind: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        apply, remove = NORMS[kind]
        apply(module, name)
        assert_composed(layer)
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(1.5)
        assert_composed(layer, recorded=False, training=False)
        remove(module, name)
        assert_composed(layer, recorded=False, training=False)

    for_every_parameter(operator, check, least=2)


@layers
@pytest.mark.parametrize("kind", NORMS)
def test_norm_of_every_weight(operator: str, kind: str) -> None:
    layer = held(operator)
    apply, remove = NORMS[kind]
    for module, name in (owners := _owners(layer, 2)):
        apply(module, name)
    assert_composed(layer)
    for module, name in owners:
        remove(module, name)
    assert_composed(layer, recorded=False, training=False)
