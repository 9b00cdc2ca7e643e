"""A layer in inference as one op: the same results, and run only where no stage must be seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.backends.cpu import library
from rfaconv.errors import InvalidArgument

pytestmark = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))

OPERATORS = (RFAConv2d, RFCBAMConv2d, RFCAConv2d)


def fused(operator: Callable[..., Any], **arguments: Any) -> Any:
    """A layer with statistics of its own, ready for inference."""
    torch.manual_seed(0)
    layer = operator(**{"in_channels": 8, "out_channels": 12, "kernel_size": 3, **arguments})
    for _ in range(3):
        layer(torch.randn(2, 8, 13, 11))
    return layer.eval().fuse()


def with_norm(norm: nn.Module, training: bool = False) -> Any:
    """A layer with another norm of its features."""
    layer = RFAConv2d(8, 12, 3).eval()
    layer.feature_norm = norm.train(training)
    return layer


def ordinary(layer: Any, x: Tensor) -> Tensor:
    """The ordinary way, which gradients ask for."""
    return layer(x.clone().requires_grad_()).detach()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": 5, "dilation": 2, "bias": False},
        {"kernel_size": 1, "stride": (2, 1)},
        {"stride": 2, "padding": (0, 3)},
        {"padding": "same"},
    ],
    ids=str,
)
def test_equals_the_ordinary_way(
    operator: Callable[..., Any], arguments: dict[str, Any], taken: list[bool]
) -> None:
    layer = fused(operator, **arguments)
    x = torch.randn(3, 8, 15, 14)
    wide = torch.randn(3, 8, 17, 30)
    maps = (x, x.to(memory_format=torch.channels_last), wide[:, :, 1:16, ::2], x[:1], x[:, :, :9])
    for view in maps:
        taken.clear()
        want = ordinary(layer, view)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                found = layer(view)
            assert taken[-1]
            assert found.stride() == want.stride()
            torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_errs_no_more_than_plain_torch(
    operator: Callable[..., Any],
    mean: float,
    memory_format: torch.memory_format,
    taken: list[bool],
) -> None:
    layer = operator(8, 12, 3)
    x = (torch.randn(2, 8, 37, 41) + mean).to(memory_format=memory_format)
    layer(x)
    layer.eval()
    with torch.no_grad():
        taken.clear()
        found = layer(x)
        assert taken == [True]
        layer.backend = "reference"
        plain = layer(x)
        exact = layer.double()(x.double())
    scale = exact.abs().max()
    error, bound = ((y - exact).abs().max() / scale for y in (found, plain))
    assert error <= 2 * bound + 1e-6


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("affine", [True, False])
def test_layers_that_are_not_fused(
    operator: Callable[..., Any], affine: bool, taken: list[bool]
) -> None:
    layer, x = operator(8, 12, 3), torch.randn(2, 8, 13, 11)
    layer.feature_norm = nn.BatchNorm2d(72, affine=affine, eps=0.01)
    layer.train()
    for _ in range(3):
        layer(x + 1)
    layer.eval()
    if affine:
        nn.init.uniform_(layer.feature_norm.weight, -1, 1)
    taken.clear()
    with torch.no_grad():
        found = layer(x)
        assert taken == [True]
        layer.feature_norm.running_var.mul_(2)
        changed = layer(x)
    torch.testing.assert_close(changed, ordinary(layer, x), rtol=1e-5, atol=1e-6)
    layer.feature_norm.running_var.div_(2)
    torch.testing.assert_close(found, ordinary(layer, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_parameters_with_channels_last(operator: Callable[..., Any], taken: list[bool]) -> None:
    layer, x = fused(operator), torch.randn(2, 8, 13, 11)
    with torch.no_grad():
        want = layer(x)
        layer.to(memory_format=torch.channels_last)
        found = layer(x.to(memory_format=torch.channels_last))
    assert taken == [True, True]
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_special_values_spread_as_in_the_ordinary_way(
    operator: Callable[..., Any], value: float, taken: list[bool]
) -> None:
    layer = fused(operator)
    x = torch.randn(2, 8, 13, 11)
    x[1, 3, 6, 5] = value
    with torch.no_grad():
        found = layer(x)
    assert taken[-1]
    want = ordinary(layer, x)
    assert torch.equal(found.isnan(), want.isnan())
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6, equal_nan=True)


class Watcher(TorchDispatchMode):
    """Counts the operations that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Any mode of torch functions."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return function(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # torch's own, at a dual
@pytest.mark.parametrize("operator", OPERATORS)
def test_modes_see_the_op_and_tracers_the_stages(
    operator: Callable[..., Any], taken: list[bool]
) -> None:
    layer, x = fused(operator), torch.randn(2, 8, 13, 11)
    with torch.no_grad():
        with Watcher() as watcher:
            layer(x)
        assert "rfaconv.attend.default" in watcher.names
        with Functions():
            layer(x)
        with torch.autograd.profiler.profile() as profile:
            layer(x)
        assert any("rfaconv::attend" in event.name for event in profile.function_events)
        assert all(taken)
        taken.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        torch.func.vmap(layer)(x[None])
    layer(x)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        layer(torch.autograd.forward_ad.make_dual(x, x))
    with torch.no_grad():
        torch.export.export(layer, (x,))
    assert not any(taken)


def test_frozen_layers_need_no_mode(taken: list[bool]) -> None:
    layer, x = fused(RFAConv2d).requires_grad_(False), torch.randn(2, 8, 13, 11)
    y = layer(x)
    assert taken == [True] and not y.requires_grad
    layer(x.requires_grad_()).sum().backward()
    assert taken == [True, False] and x.grad is not None


def test_hooks_of_children_are_called(taken: list[bool]) -> None:
    layer, x, seen = fused(RFCAConv2d), torch.randn(2, 8, 13, 11), []
    with torch.no_grad():
        layer(x)
        handle = layer.attention.bn1.register_forward_hook(lambda *_: seen.append("bn1"))
        layer(x)
        handle.remove()
        layer(x)
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        layer(x)
        handle.remove()
    assert taken == [True, False, True, False]
    assert seen == ["bn1"]


class Quiet(RFAConv2d):
    """A subclass that changes nothing."""


class Halved(RFAConv2d):
    """A subclass with other gates."""

    def gate_tensors(self, input: Tensor, field: Any) -> Any:
        return [gate / 2 for gate in super().gate_tensors(input, field)]


@pytest.mark.parametrize(
    "layer",
    [
        RFAConv2d(8, 12, 3),
        RFAConv2d(8, 12, 3).eval().fuse().train(),
        with_norm(nn.BatchNorm2d(72, track_running_stats=False)),
        with_norm(nn.BatchNorm2d(72), training=True),
        RFAConv2d(8, 12, 3, backend="reference").eval().fuse(),
        RFAConv2d(8, 12, 3, padding_mode="reflect").eval().fuse(),
        RFAConv2d(8, 12, 3, groups=4).eval().fuse(),
        RFAConv2d(8, 12, 2).eval().fuse(),
        Halved(8, 12, 3).eval().fuse(),
        RFAConv2d(8, 12, 3).eval().fuse().double(),
        RFCAConv2d(8, 12, 3).fuse(),  # the BatchNorm of its attention is in training mode
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_go_the_ordinary_way(layer: Any, taken: list[bool]) -> None:
    with torch.no_grad():
        layer(torch.randn(2, 8, 13, 11).to(layer.weight.dtype))
    assert taken == [False]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("cls", [RFAConv2d, RFCBAMConv2d, RFCAConv2d])
def test_bfloat16_is_one_call(cls: Any, memory_format: Any, taken: list[bool]) -> None:
    layer = cls(24, 40, 3, padding=1).eval().bfloat16().to(memory_format=memory_format)
    x = torch.randn(2, 24, 17, 19).bfloat16().to(memory_format=memory_format)
    exact = copy.deepcopy(layer).double().requires_grad_(False)(x.double())
    plain = copy.deepcopy(layer)
    plain.backend = "reference"
    taken.clear()
    with torch.no_grad():
        y = layer(x)
        # a bias with gaps, as a slice of a larger parameter is
        layer.bias = nn.Parameter(torch.stack([layer.bias, layer.bias], 1)[:, 0])
        again = layer(x)
        allowed = 2 * (plain(x).double() - exact).abs().max()
    assert taken[:2] == [True, True]
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=memory_format)
    assert (y.double() - exact).abs().max() <= allowed
    assert torch.equal(y, again)


def test_overrides_are_run(taken: list[bool]) -> None:
    x = torch.randn(2, 8, 13, 11)
    layer = Quiet(8, 12, 3).eval()
    with torch.no_grad():
        plain = layer(x)
        layer.__class__ = Halved
        halved = layer(x)
        layer.__class__ = Quiet
        layer.features = lambda value: type(layer).features(layer, value + 1)
        shifted = layer(x)
        del layer.features
        again = layer(x)
    assert taken == [True, False, False, True]
    torch.testing.assert_close(again, plain)
    assert not torch.allclose(halved, plain, atol=1e-3)
    assert not torch.allclose(shifted, plain, atol=1e-3)


def test_bad_inputs_raise_as_ever(taken: list[bool]) -> None:
    layer = fused(RFAConv2d, padding=0)
    with torch.no_grad():
        layer(torch.randn(2, 8, 13, 11))
        for x in (
            torch.randn(2, 7, 13, 11),
            torch.randn(7, 13, 11),
            torch.randn(2, 8, 2, 11),
            torch.randn(2, 8, 13, 11).double(),
        ):
            with pytest.raises(InvalidArgument, match="input"):
                layer(x)
        assert layer(torch.randn(0, 8, 13, 11)).shape == (0, 12, 11, 9)
