"""Hooks of every kind, on the layer, on its children and on all modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from testing.holding import LAYERS, assert_composed, held, layers
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)


def _leaves() -> list[tuple[str, str]]:
    """All modules of every layer, the layer itself ("") first."""
    return [
        (operator, name)
        for operator, layer in LAYERS.items()
        for name, module in layer(8, 8, 3).named_modules()
        if name == "" or not list(module.children())
    ]


modules = pytest.mark.parametrize(("operator", "name"), _leaves())


@modules
def test_a_hook_that_changes_the_output(operator: str, name: str) -> None:
    layer = held(operator)
    handle = layer.get_submodule(name).register_forward_hook(lambda m, args, y: y * 1.5 + 0.1)
    assert_composed(layer)
    handle.remove()
    assert_composed(layer)


@modules
def test_a_hook_that_changes_the_input(operator: str, name: str) -> None:
    layer = held(operator)
    handle = layer.get_submodule(name).register_forward_pre_hook(lambda m, args: (args[0] * 0.5,))
    assert_composed(layer)
    handle.remove()
    assert_composed(layer)


@modules
def test_hooks_with_keywords(operator: str, name: str) -> None:
    layer = held(operator)
    module = layer.get_submodule(name)
    module.register_forward_pre_hook(lambda m, args, kw: ((args[0] + 1,), kw), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kw, y: y + 1, with_kwargs=True, always_call=True)
    assert_composed(layer)


@modules
def test_hooks_in_a_new_dictionary(operator: str, name: str) -> None:
    layer = held(operator)
    module = layer.get_submodule(name)
    module._forward_hooks = OrderedDict([(0, lambda m, args, y: y * 2 + 1)])
    assert_composed(layer)
    module._forward_hooks = OrderedDict()
    module._forward_pre_hooks = OrderedDict([(0, lambda m, args: (args[0] - 1,))])
    assert_composed(layer)


@modules
def test_a_weight_that_a_hook_brings(operator: str, name: str) -> None:
    """What offloading does: outside of the call there is another number in the weight."""
    layer = held(operator)
    module: Any = layer.get_submodule(name)
    brought = {n: p.detach() * 1.25 for n, p in module.named_parameters(recurse=False)}

    def fill(module: Any, value: Any) -> None:
        with torch.no_grad():
            for n, p in module.named_parameters(recurse=False):
                p.data = brought[n].clone() if value is None else torch.full_like(p, value)

    module.register_forward_pre_hook(lambda m, args: fill(m, None))
    module.register_forward_hook(lambda m, args, y: fill(m, torch.nan))
    fill(module, torch.nan)
    assert_composed(layer, recorded=False, training=False)


@modules
def test_a_weight_that_a_hook_brings_in_new_parameters(operator: str, name: str) -> None:
    layer = held(operator)
    module: Any = layer.get_submodule(name)
    brought = {n: p.detach() * 1.25 for n, p in module.named_parameters(recurse=False)}

    def bring(module: Any, *_: Any) -> None:
        for n, values in brought.items():
            module._parameters[n] = nn.Parameter(values.clone())

    def take(module: Any, *_: Any) -> None:
        for n, values in brought.items():
            module._parameters[n] = nn.Parameter(values.to("meta"))

    module.register_forward_pre_hook(bring)
    module.register_forward_hook(take)
    take(module)
    assert_composed(layer, recorded=False, training=False)


@contextmanager
def _globally(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@layers
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.Conv2d, nn.Linear])
def test_global_hooks(operator: str, kind: type[nn.Module]) -> None:
    layer = held(operator)

    def changed(module: Any, args: Any, y: Any) -> Any:
        return y * 1.5 if type(module) is kind else None

    def before(module: Any, args: Any) -> Any:
        return (args[0] + 0.5,) if type(module) is kind else None

    with _globally(register_module_forward_hook(changed)):
        assert_composed(layer)
    with _globally(register_module_forward_pre_hook(before)):
        assert_composed(layer)
    assert_composed(layer)


@layers
def test_every_call_of_a_child_is_seen(operator: str) -> None:
    layer, seen = held(operator), []
    names = {module: name for name, module in layer.named_modules() if name}

    def note(module: Any, args: Any, y: Any) -> None:
        seen.append(names.get(module, ""))

    for module in names:
        module.register_forward_hook(note)
    x = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        layer(x)
    leaves = {names[m] for m in names if not list(m.children())}
    assert leaves <= set(seen)


@modules
def test_backward_hooks(operator: str, name: str) -> None:
    layer, seen = held(operator), []
    module = layer.get_submodule(name)
    module.register_full_backward_hook(lambda m, gi, go: seen.append(go[0].shape))
    module.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    x = torch.randn(2, 8, 6, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert seen
    with torch.no_grad():
        assert torch.equal(layer(x), layer(x.detach()))


@layers
def test_a_hook_put_in_by_a_hook(operator: str) -> None:
    layer = held(operator)
    leaf = [m for m in layer.modules() if not list(m.children())][-1]

    def add(module: Any, args: Any) -> None:
        if not leaf._forward_hooks:
            leaf.register_forward_hook(lambda m, a, y: y * 0.5)

    if leaf is layer:
        pytest.skip("the layer has no children")
    layer.register_forward_pre_hook(add)
    assert_composed(layer)


@layers
def test_hooks_that_watch_the_weights(operator: str) -> None:
    """A tensor hook of a parameter is called once for its gradient."""
    layer, seen = held(operator), []
    for name, p in layer.named_parameters():
        p.register_hook(lambda g, name=name: seen.append(name))
    layer(torch.randn(2, 8, 6, 5)).sum().backward()
    assert sorted(seen) == sorted(name for name, _ in layer.named_parameters())


@layers
def test_hooks_of_a_copy_stay_with_the_copy(operator: str) -> None:
    import copy

    layer = held(operator)
    other = copy.deepcopy(layer)
    other.register_forward_hook(lambda m, args, y: y + 1)
    x = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(other(x), layer(x) + 1)
