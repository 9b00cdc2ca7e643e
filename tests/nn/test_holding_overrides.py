"""Methods that somebody put over ours, on an instance, a child or by another class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from testing.holding import (
    LAYERS,
    TOLERANCE,
    assert_composed,
    assert_near,
    forward_composed,
    held,
    inputs,
    layers,
    operators,
    owner,
)
from torch import Tensor, nn

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d


def _assert(layer: Any, expected: Any, training: bool = False) -> None:
    """Asserts the answer at every input, without and with gradients."""
    layer.train(training)
    for x in inputs(8):
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                assert_near(layer(x), expected(x), TOLERANCE, mode.__name__)


def _plain(layer: Any, x: Tensor) -> Tensor:
    with forward_composed(layer):
        return layer(x)  # type: ignore[no-any-return]


@layers
def test_forward_of_the_instance(operator: str) -> None:
    layer = held(operator)
    layer.forward = lambda x: x.sum((2, 3), keepdim=True) + 3
    _assert(layer, lambda x: x.sum((2, 3), keepdim=True) + 3)
    del layer.forward
    assert_composed(layer)


@layers
def test_forward_around_the_old_one(operator: str) -> None:
    layer = held(operator)
    old = layer.forward
    layer.forward = lambda x: old(x * 2) + 1
    with torch.no_grad():
        found = [layer(x) for x in inputs(8)]
        del layer.forward
        for y, x in zip(found, inputs(8), strict=True):
            assert_near(y, _plain(layer, x * 2) + 1, TOLERANCE, "around")


@operators
@pytest.mark.parametrize("name", ["features", "gate_tensors"])
def test_stages_of_the_instance_are_called(operator: str, name: str) -> None:
    layer = held(operator)
    old, seen = getattr(layer, name), []

    def counted(*args: Any) -> Any:
        seen.append(name)
        return old(*args)

    setattr(layer, name, counted)
    with torch.no_grad():
        for x in inputs(8):
            seen.clear()
            layer(x)
            assert seen == [name]
    assert_composed(layer)


@pytest.mark.parametrize("operator", ["rfcbam", "rfca"])
def test_gates_of_the_instance(operator: str) -> None:
    layer = held(operator)
    layer.bias = None
    old = layer.gate_tensors

    def gate_tensors(*args: Any) -> Sequence[Tensor]:
        first, *others = old(*args)
        return (first * 2, *others)

    layer.gate_tensors = gate_tensors
    _assert(layer, lambda x: _plain(layer, x) * 2)


def test_gates_of_rfa_of_the_instance() -> None:
    layer = held("rfa")
    layer.gate_tensors = lambda input, field: (torch.zeros_like(layer.attention_weight.view(8, 9)),)

    def uniform(x: Tensor) -> Tensor:
        kept = layer.attention_weight.detach().clone()
        layer.attention_weight.data.zero_()
        y = _plain(layer, x)
        layer.attention_weight.data.copy_(kept)
        return y

    _assert(layer, uniform)


@operators
def test_preparation_of_the_instance(operator: str) -> None:
    layer = held(operator)
    old = layer.prepare
    layer.prepare = lambda x: old(x.clamp(min=0))
    if operator == "rfcbam":  # its channel gate is that of the input before the preparation
        layer.se.fc2.weight.data.zero_()
    _assert(layer, lambda x: _plain(layer, x.clamp(min=0)))


def _leaves() -> list[tuple[str, str]]:
    return [
        (operator, name)
        for operator, layer in LAYERS.items()
        for name, module in layer(8, 8, 3).named_modules()
        if name and not list(module.children())
    ]


children = pytest.mark.parametrize(("operator", "name"), _leaves())


@children
def test_forward_of_a_child(operator: str, name: str) -> None:
    layer = held(operator)
    child: Any = layer.get_submodule(name)
    old = child.forward
    child.forward = lambda x: old(x) * 1.5 + 0.25
    assert_composed(layer)
    del child.forward
    assert_composed(layer)


class _Louder(nn.Module):
    """Mixed in before a layer of torch."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y * 1.5 + 0.25


@children
def test_class_of_a_child(operator: str, name: str) -> None:
    layer = held(operator)
    child = layer.get_submodule(name)
    child.__class__ = type("Louder", (_Louder, type(child)), {})
    assert_composed(layer)


@children
def test_forward_of_all_of_a_class(
    operator: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = held(operator)
    kind = type(layer.get_submodule(name))
    old = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: old(self, x) * 1.5)
    assert_composed(layer)


@children
def test_convolution_method_of_a_child(operator: str, name: str) -> None:
    """What some libraries override instead of forward."""
    layer = held(operator)
    child: Any = layer.get_submodule(name)
    if not isinstance(child, nn.Conv2d):
        pytest.skip("only convolutions have it")
    old = child._conv_forward
    child._conv_forward = lambda x, weight, bias: old(x, weight * 2, bias)
    assert_composed(layer)


@pytest.mark.parametrize("operator", ["rfcbam", "rfca", "cam", "cbam", "ca"])
def test_forward_of_the_attention(operator: str) -> None:
    """Calls the child as the layer does, so whatever it returns is what counts."""
    layer, seen = held(operator), []
    name = "se" if operator == "rfcbam" else "attention"
    child = layer.get_submodule(name)
    old = child.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return old(*args, **kwargs)

    child.forward = counted
    with torch.no_grad():
        for x in inputs(8):
            seen.clear()
            layer(x)
            assert seen == [name]
    assert_composed(layer)


class _Offset(RFAConv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


class _OffsetCA(RFCAConv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


class _OffsetCBAM(RFCBAMConv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


class _Uniform(RFAConv2d):
    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        return (torch.zeros_like(self.attention_weight.view(self.in_channels, -1)),)


class _Halved(RFCBAMConv2d):
    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        channel, pixel = super().gate_tensors(input, field)
        return channel * 0.5, pixel


class _Clamped(RFAConv2d):
    def features(self, x: Tensor) -> Any:
        return super().features(x.clamp(min=0))


def _as(operator: str, kind: type[nn.Module]) -> Any:
    layer = held(operator)
    layer.bias = None
    layer.__class__ = kind
    return layer


@pytest.mark.parametrize(
    ("operator", "kind"), [("rfa", _Offset), ("rfcbam", _OffsetCBAM), ("rfca", _OffsetCA)]
)
def test_class_with_a_forward(operator: str, kind: type[nn.Module]) -> None:
    layer = _as(operator, kind)
    _assert(layer, lambda x: _plain(layer, x) + 1)


def test_class_with_gates() -> None:
    layer = _as("rfcbam", _Halved)
    _assert(layer, lambda x: _plain(layer, x) * 0.5)
    uniform = _as("rfa", _Uniform)
    plain = _as("rfa", RFAConv2d)
    plain.load_state_dict(uniform.state_dict())
    plain.attention_weight.data.zero_()
    _assert(uniform, lambda x: _plain(plain, x))


def test_class_with_features() -> None:
    layer = _as("rfa", _Clamped)
    layer.attention_weight.data.zero_()  # the gate is made of what the features are made of
    _assert(layer, lambda x: _plain(layer, x.clamp(min=0)))


@operators
def test_class_and_back(operator: str) -> None:
    layer = held(operator)
    kind = type(layer)
    layer.__class__ = type("Louder", (_Louder, kind), {})
    _assert(layer, lambda x: _plain(layer, x) * 1.5 + 0.25)
    layer.__class__ = kind
    assert_composed(layer)


@operators
def test_method_of_all_layers_of_a_class(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = held(operator)
    kind = type(layer)
    old = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: old(self, x) + 2)
    _assert(layer, lambda x: _plain(layer, x) + 2)


@layers
def test_another_operator_of_the_same_attributes(operator: str) -> None:
    """The class decides, not what the instance was built as."""
    layer = held(operator)
    module, name = owner(layer, "weight")
    setattr(module, name, nn.Parameter(layer.weight.detach() * 2))
    layer.__class__ = type("Alias", (type(layer),), {})
    assert_composed(layer)
