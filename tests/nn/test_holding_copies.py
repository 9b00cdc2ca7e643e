"""Weights that came from elsewhere: copies, files, loads, lent and generated tensors, steps."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from testing.holding import (
    TOLERANCE,
    assert_composed,
    assert_near,
    for_every_parameter,
    forward_composed,
    held,
    inputs,
    layers,
    owner,
)
from torch import Tensor, nn


def _saved(layer: Any) -> Any:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": _saved,
}


@layers
@pytest.mark.parametrize("kind", COPIES)
def test_copies(operator: str, kind: str) -> None:
    layer = held(operator)
    other = COPIES[kind](layer)
    assert_composed(other)
    other.weight = nn.Parameter(torch.randn(8, 8, 3, 3))
    other.bias = None
    assert_composed(layer)
    assert_composed(other)
    del layer
    assert_composed(other)


@layers
def test_a_copy_of_a_parametrized_layer(operator: str) -> None:
    layer = held(operator)
    nn.utils.parametrizations.weight_norm(layer, "weight")
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.parametrizations.weight.original0.mul_(2)
    assert_composed(layer)
    assert_composed(other)


def _altered(layer: Any) -> dict[str, Tensor]:
    return {name: t * 1.5 if t.is_floating_point() else t for name, t in layer.state_dict().items()}


@layers
def test_loads(operator: str, tmp_path: Path) -> None:
    layer = held(operator)
    layer.load_state_dict(_altered(layer))
    assert_composed(layer)
    layer.load_state_dict(_altered(layer), assign=True)
    assert_composed(layer)
    half = dict(list(_altered(layer).items())[::2])
    layer.load_state_dict(half, strict=False, assign=True)
    assert_composed(layer)
    torch.save(_altered(layer), tmp_path / "state.pt")
    mapped = torch.load(tmp_path / "state.pt", mmap=True, weights_only=True)
    layer.load_state_dict(mapped, assign=True)
    del mapped
    assert_composed(layer)


@layers
def test_a_load_of_other_sizes_is_refused(operator: str) -> None:
    layer = held(operator)
    state = _altered(layer)
    state["weight"] = torch.randn(4, 8, 3, 3)
    with pytest.raises(RuntimeError, match="size mismatch"):
        layer.load_state_dict(state)
    assert_composed(layer)
    with pytest.raises(RuntimeError, match="size mismatch"):
        layer.load_state_dict(state, assign=True)
    assert_composed(layer)


@layers
def test_shared_memory(operator: str) -> None:
    assert_composed(held(operator).share_memory())


@layers
def test_swapped_tensors(operator: str) -> None:
    layer = held(operator)
    for p in list(layer.parameters()):
        torch.utils.swap_tensors(p, nn.Parameter(torch.randn_like(p)))
    assert_composed(layer)


@layers
def test_two_layers_with_one_weight(operator: str) -> None:
    layer, other = held(operator), held(operator)
    other.weight = layer.weight
    assert_composed(other)
    layer.weight.data = torch.randn(8, 8, 3, 3)
    assert_composed(other)
    assert_composed(layer)


def _lent(layer: Any, lent: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.func.functional_call(layer, lent, (x,))


@layers
def test_lent_parameters(operator: str) -> None:
    layer = held(operator)
    names = [name for name, _ in layer.named_parameters()]
    for chosen in (names, names[:1], names[1:], names[::2]):
        lent = {name: layer.get_parameter(name).detach() * 1.5 for name in chosen}
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            for x in inputs(8):
                with mode():
                    found = _lent(layer, lent)(x)
                    with forward_composed(layer):
                        expected = _lent(layer, lent)(x)
                assert_near(found, expected, TOLERANCE, mode.__name__)
        assert_composed(layer, recorded=False, training=False)


@layers
def test_a_generated_weight(operator: str) -> None:
    """A hypernetwork sets a plain tensor in place of the parameter, anew for every batch."""

    def check(layer: Any, module: Any, name: str) -> None:
        shape = getattr(module, name).shape
        delattr(module, name)
        network = nn.Linear(3, shape.numel())
        for training in (True, False, False):
            setattr(module, name, network(torch.randn(3)).view(shape))
            assert_composed(layer, training=training)
            torch.full(shape, torch.nan)  # takes the memory that was freed

    for_every_parameter(operator, check)


@layers
def test_fast_weights(operator: str) -> None:
    """Steps of an inner loop: every parameter becomes itself less its gradient."""
    layer = held(operator)
    x = torch.randn(2, 8, 6, 5)
    for _ in range(2):
        names = [name for name, p in _tensors(layer)]
        tensors = [t for _, t in _tensors(layer)]
        gradients = torch.autograd.grad(layer(x).square().mean(), tensors, create_graph=True)
        for name, t, gradient in zip(names, tensors, gradients, strict=True):
            module, last = owner(layer, name)
            if last in module._parameters:
                delattr(module, last)
            setattr(module, last, t - 0.1 * gradient)
        assert_composed(layer)


def _tensors(layer: Any) -> list[tuple[str, Tensor]]:
    found = []
    for prefix, module in layer.named_modules():
        for name in ("weight", "bias", "feature_weight", "attention_weight", "attention_bias",
                     "spatial_weight"):  # fmt: skip
            t = getattr(module, name, None)
            if isinstance(t, Tensor) and t.requires_grad:
                found.append((f"{prefix}.{name}".lstrip("."), t))
    return found


@layers
def test_steps_of_an_optimizer_between(operator: str) -> None:
    layer = held(operator)
    for optimizer in (
        torch.optim.SGD(layer.parameters(), 0.05, foreach=True),
        torch.optim.AdamW(layer.parameters(), 0.01, fused=True),
    ):
        layer.train()
        layer(torch.randn(2, 8, 6, 5)).square().mean().backward()
        optimizer.step()
        layer.eval()
        assert_composed(layer, training=False)


@layers
def test_an_average_of_the_weights(operator: str) -> None:
    layer = held(operator)
    average = torch.optim.swa_utils.AveragedModel(layer, use_buffers=True)
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(2)
    average.update_parameters(layer)
    average.update_parameters(layer)
    assert_composed(average.module)


@layers
def test_a_parameter_that_is_deleted(operator: str) -> None:
    layer = held(operator)
    del layer.weight
    with torch.no_grad(), pytest.raises(AttributeError, match="weight"):
        layer(torch.randn(2, 8, 6, 5))


class _Logged(Tensor):
    """A subclass of tensors as quantisers and loggers make them."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


@layers
def test_a_subclass_of_tensor(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        values = getattr(module, name).detach() * 1.5
        delattr(module, name)
        setattr(module, name, values.as_subclass(_Logged))
        assert_composed(layer, recorded=False, training=False)

    for_every_parameter(operator, check)
