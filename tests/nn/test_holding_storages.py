"""Weights in other memory than they were in: cut, transposed, viewed, resized, empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing.holding import (
    assert_composed,
    assert_refused,
    for_every_parameter,
    held,
    layers,
    operators,
    owner,
)
from torch import Tensor, nn


def _strided(t: Tensor) -> Tensor:
    """The same shape in the middle of more memory, every stride doubled."""
    wide = torch.randn(tuple(2 * n for n in t.shape))
    view = wide[tuple(slice(n % 2, 2 * n, 2) for n in t.shape)]
    return view.copy_(t)


def _reversed(t: Tensor) -> Tensor:
    """The strides of the transposed tensor."""
    return t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim())))


def _offset(t: Tensor) -> Tensor:
    """Not at the start of its memory, and aligned to four bytes only."""
    return torch.cat([torch.full((3,), torch.nan), t.flatten()])[3:].view(t.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "new memory": lambda t: t * 1.5,
    "strided": _strided,
    "reversed strides": _reversed,
    "offset": _offset,
    "expanded": lambda t: t[:1].expand(t.shape),
    "one number": lambda t: t.flatten()[0].expand(t.shape),
    "shared rows": lambda t: t.flatten()[: t[0].numel()].view(t[:1].shape).expand(t.shape),
}


@layers
@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_in_another_layout(operator: str, layout: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        p = getattr(module, name)
        p.data = LAYOUTS[layout](p.data)
        assert_composed(layer, recorded=False, training=False)

    for_every_parameter(operator, check)


@layers
def test_data_transposed(operator: str) -> None:
    layer = held(operator)
    layer.weight.data = layer.weight.data.transpose(2, 3)
    assert_composed(layer)
    layer.weight.data = layer.weight.data.transpose(0, 1)  # as many outputs as inputs
    assert_composed(layer)


@layers
def test_channels_last(operator: str) -> None:
    layer = held(operator).to(memory_format=torch.channels_last)
    assert_composed(layer)
    layer.weight.data = layer.weight.data.contiguous()
    assert_composed(layer)


@layers
@pytest.mark.parametrize("outputs", [1, 4, 7])
def test_outputs_cut(operator: str, outputs: int) -> None:
    layer = held(operator)
    layer.weight.data = layer.weight.data[:outputs]
    layer.bias.data = layer.bias.data[:outputs]
    assert_composed(layer)
    layer.weight = nn.Parameter(torch.randn(11, *layer.weight.shape[1:]))
    layer.bias = None
    assert_composed(layer)


@operators
@pytest.mark.parametrize("keep", [4, 6])
def test_inputs_cut(operator: str, keep: int) -> None:
    """What structural pruning does; the attributes are left as they were."""
    layer, taps = held(operator), 9
    layer.weight.data = layer.weight.data[:, :keep]
    layer.feature_weight.data = layer.feature_weight.data[: keep * taps]
    norm = layer.feature_norm
    for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        t.data = t.data[: keep * taps]
    if operator == "rfa":
        layer.attention_weight.data = layer.attention_weight.data[: keep * taps]
    elif operator == "rfcbam":
        layer.se.fc1.weight.data = layer.se.fc1.weight.data[:, :keep]
        layer.se.fc2.weight.data = layer.se.fc2.weight.data[:keep]
    else:
        attention = layer.attention
        attention.conv1.weight.data = attention.conv1.weight.data[:, :keep]
        for conv in (attention.conv_h, attention.conv_w):
            conv.weight.data, conv.bias.data = conv.weight.data[:keep], conv.bias.data[:keep]
    assert_composed(layer, channels=keep, refusable=True)
    assert_refused(layer, channels=8)
    layer.in_channels = keep
    assert_composed(layer, channels=keep)


@layers
def test_parameter_cut_alone(operator: str) -> None:
    """Raises wherever torch's layers do."""

    def check(layer: Any, module: Any, name: str) -> None:
        p = getattr(module, name)
        p.data = p.data[: max(1, len(p) // 2)]
        assert_composed(layer, refusable=True)  # torch may broadcast it

    for_every_parameter(operator, check)


@layers
def test_parameter_with_more_than_it_should(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        p = getattr(module, name)
        p.data = torch.cat([p.data, p.data])
        assert_composed(layer, refusable=True)  # torch may broadcast it

    for_every_parameter(operator, check)


@layers
def test_memory_freed_and_given_back(operator: str) -> None:
    """What sharding does between two steps."""

    def check(layer: Any, module: Any, name: str) -> None:
        p = getattr(module, name)
        storage, values = p.untyped_storage(), p.detach().clone()
        size = storage.nbytes()
        storage.resize_(0)
        storage.resize_(size)
        with torch.no_grad():
            p.copy_(values * 2)
        assert_composed(layer, training=False)

    for_every_parameter(operator, check)


@layers
def test_memory_freed(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        getattr(module, name).untyped_storage().resize_(0)
        assert_refused(layer)

    for_every_parameter(operator, check)


@layers
@pytest.mark.parametrize("buffer", ["running_mean", "running_var"])
def test_statistics_freed(operator: str, buffer: str) -> None:
    layer = held(operator)
    norms = [m for m in layer.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        pytest.skip("the layer has no norm")
    for norm in norms:
        getattr(norm, buffer).untyped_storage().resize_(0)
    assert_refused(layer)


@layers
def test_set_to_other_memory(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        p = getattr(module, name)
        with torch.no_grad():
            p.set_(torch.randn(p.shape))
        assert_composed(layer, training=False)

    for_every_parameter(operator, check)


@layers
def test_one_flat_vector(operator: str) -> None:
    """All parameters become views of one vector, as optimisers and sharding make them."""
    layer = held(operator)
    vector = nn.utils.parameters_to_vector(layer.parameters()).detach() * 1.25
    nn.utils.vector_to_parameters(vector, layer.parameters())
    assert_composed(layer)
    vector.mul_(0.5)
    assert_composed(layer)


def _negated(t: Tensor) -> Tensor:
    """A view that is negated when it is read: its memory holds the opposite."""
    return torch._neg_view(-t)


def _imaginary(t: Tensor) -> Tensor:
    """The imaginary part of a conjugate, which torch negates when it is read."""
    return torch.complex(t, -t).conj().imag


def _zero(t: Tensor) -> Tensor:
    """Zeros without memory."""
    return torch._efficientzerotensor(t.shape)


LAZY: dict[str, Callable[[Tensor], Tensor]] = {
    "negated": _negated,
    "imaginary": _imaginary,
    "zeros without memory": _zero,
}


@layers
@pytest.mark.parametrize("kind", LAZY)
def test_weights_that_are_made_when_read(operator: str, kind: str) -> None:
    layer = held(operator)
    for name, p in list(layer.named_parameters()):
        module, last = owner(layer, name)
        values = p.detach()
        delattr(module, last)
        setattr(module, last, LAZY[kind](values))
    # torch makes zeros without memory for derivatives; a layer may refuse them
    refusable = kind == "zeros without memory"
    assert_composed(layer, training=False, recorded=False, refusable=refusable)


@layers
def test_input_that_is_made_when_read(operator: str) -> None:
    layer: Any = held(operator)
    x = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        expected = layer(x)
        for kind in (_negated, _imaginary):
            torch.testing.assert_close(layer(kind(x)), expected)
