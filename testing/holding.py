"""Whether a layer computes with the weights that it is holding, however it holds them.

The oracle is :func:`testing.composition.composed`, called as the forward of the very same layer, so
that its hooks run. Where that raises, the layer must raise; where it answers, the layer must give
the same answer.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d
from testing.composition import composed

OPERATORS = ("rfa", "rfcbam", "rfca")
LAYERS = {**CONVOLUTIONS, "unfold": UnfoldRFAConv2d}
SIZES = ((2, 13, 11), (1, 6, 9), (3, 5, 4))
# what a layer may raise: ours is a ValueError, torch's own are these
REFUSALS = (ValueError, RuntimeError, TypeError)
TOLERANCE = 2e-5  # of the largest entry: both sides compute in float32

operators = pytest.mark.parametrize("operator", OPERATORS)
layers = pytest.mark.parametrize("operator", LAYERS)


def held(operator: str, channels: int = 8, outputs: int = 8, **arguments: Any) -> Any:
    """A layer in evaluation with statistics of its own, that has been run at several sizes."""
    layer = LAYERS[operator](channels, outputs, 3, **arguments)
    for module in layer.modules():  # statistics at once, as after one step
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    layer(torch.randn(4, channels, 9, 8) + 0.5)
    for norm in layer.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = 0.1
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    layer.eval()
    run(layer)
    return layer


def run(layer: Any) -> None:
    """Runs the layer in every mode, so that whatever it keeps is kept."""
    x = next(inputs(layer.in_channels))
    for mode in MODES.values():
        with mode():
            layer(x)


def inputs(channels: int, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    """Inputs of several sizes, batches and layouts, the same ones at every call."""
    generator = torch.Generator().manual_seed(1)
    for batch, height, width in SIZES:
        x = torch.randn(batch, channels, height, width, generator=generator).to(dtype)
        yield x
    yield x.to(memory_format=torch.channels_last)


def for_every_parameter(
    operator: str, check: Callable[[Any, Any, str], None], least: int = 1
) -> None:
    """Runs ``check(layer, module, name)`` for every parameter of a layer and of its children, each
    on a layer of its own that has been run; says at the end for which it failed.
    """
    kept, failures = held(operator), []
    for path, p in kept.named_parameters():
        if p.dim() < least:
            continue
        layer = copy.deepcopy(kept)
        with torch.no_grad():
            layer(next(inputs(layer.in_channels)))
        try:
            check(layer, *owner(layer, path))
        except (Exception, pytest.fail.Exception) as error:
            failures.append(f"{path}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


def owner(layer: Any, path: str) -> tuple[Any, str]:
    """The module that has the parameter, and the parameter's name in it."""
    module, _, name = path.rpartition(".")
    return layer.get_submodule(module), name


@contextmanager
def forward_composed(layer: Any) -> Iterator[None]:
    """Calls of the layer run the composition of torch layers."""
    own = layer.__dict__.get("forward")
    layer.forward = partial(composed, layer)
    try:
        yield
    finally:
        del layer.forward
        if own is not None:
            layer.forward = own


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
}


def assert_composed(
    layer: Any,
    *,
    channels: int = 8,
    dtype: torch.dtype = torch.float32,
    refusable: bool = False,
    recorded: bool = True,
    training: bool = True,
    tolerance: float = TOLERANCE,
) -> None:
    """Asserts that the layer gives what the composition of torch layers gives.

    Args:
        layer: the layer in evaluation, its weights held in whatever way.
        channels: of the input.
        dtype: of the input.
        refusable: whether the layer may raise where the composition answers.
        recorded: whether to look at evaluation with gradients too.
        training: whether to look at training too.
        tolerance: largest deviation, as a fraction of the largest entry.
    """
    maps = list(inputs(channels, dtype))
    check = partial(_compare, layer, refusable=refusable, tolerance=tolerance)
    with torch.no_grad():
        for x in maps:
            check(x, where="no_grad")
    with torch.inference_mode():
        check(maps[0], where="inference_mode")
    if recorded:
        check(maps[0], where="grad mode")
        with _frozen(layer):
            check(maps[1], where="frozen")
            check(maps[2].clone().requires_grad_(), where="input recorded")
    if training:
        layer.train()
        check(maps[1], where="training")
        layer.eval()
        with torch.no_grad():
            check(maps[0], where="after training")


def _compare(layer: Any, x: Tensor, *, refusable: bool, tolerance: float, where: str) -> None:
    kept = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    with forward_composed(layer):
        expected = _answer(layer, x)
    written = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    with torch.no_grad():
        for name, buffer in layer.named_buffers():
            if name in kept:  # a hook may have made more
                buffer.copy_(kept[name])
    found = _answer(layer, x)
    where = f"{where}, input {tuple(x.shape)}"
    if isinstance(found, Exception):
        allowed = isinstance(found, (*REFUSALS, type(expected)))
        if (refusable or isinstance(expected, Exception)) and allowed:
            return
        raise AssertionError(f"{where}: raised, expected {_short(expected)}") from found
    if isinstance(expected, Exception):
        raise AssertionError(f"{where}: answered, torch raises") from expected
    assert_near(found, expected, tolerance, where)
    for name, buffer in layer.named_buffers():
        if name in written and buffer.is_floating_point():
            assert_near(buffer, written[name], 1e-4, f"{where}: {name}")


def _answer(layer: Any, x: Tensor) -> Tensor | Exception:
    try:
        y: Tensor = layer(x)
    except Exception as error:
        return error
    return y.detach()


def assert_near(found: Tensor, expected: Tensor, tolerance: float, where: str) -> None:
    """Asserts same shape and dtype, and a deviation within a fraction of the largest entry."""
    assert found.shape == expected.shape, f"{where}: {_short(found)}, expected {_short(expected)}"
    assert found.dtype == expected.dtype, f"{where}: {_short(found)}, expected {_short(expected)}"
    found, expected = found.detach().double(), expected.detach().double()
    assert torch.equal(found.isnan(), expected.isnan()), f"{where}: NaN elsewhere"
    deviation = (found - expected).nan_to_num().abs().max().item() if found.numel() else 0.0
    limit = tolerance * max(expected.nan_to_num().abs().max().item(), 1e-3)
    assert deviation <= limit, f"{where}: off by {deviation:.2e}, allowed {limit:.2e}"


def assert_refused(layer: Any, *, channels: int = 8, dtype: torch.dtype = torch.float32) -> None:
    """Asserts that the layer raises at every input, in inference and in training."""
    maps = list(inputs(channels, dtype))
    for training, (mode, x) in itertools.product((False, True), zip(MODES, maps, strict=False)):
        layer.train(training)
        with MODES[mode](), pytest.raises(REFUSALS):
            layer(x)


@contextmanager
def _frozen(layer: Any) -> Iterator[None]:
    before = [(p, p.requires_grad) for p in layer.parameters()]
    for p, _ in before:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in before:
            p.requires_grad_(flag)


def _short(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"{tuple(answer.shape)} {answer.dtype}"
    return repr(answer)
