"""Gates through the dispatcher: their gradients, and the layers that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from interpreted.dispatcher import chosen, registered
from torch import Tensor

import rfaconv
from rfaconv import RFCAConv2d, RFCBAMConv2d
from rfaconv.functional import coordinate, squeeze, stages
from rfaconv.geometry import Window
from rfaconv.ops.gate_gradients import GATE_GRADIENTS
from rfaconv.ops.gates import GATE_DEFINITIONS
from rfaconv.reference import attention
from rfaconv.reference.parity import compare, require

OPS = torch.ops.rfaconv
WINDOW = Window.create(3)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels as those of a CPU, where the interpreter runs them; which of them ran."""
    for module in (coordinate, squeeze, stages):
        monkeypatch.setattr(module, "gate_backend", chosen)
    with registered(*GATE_DEFINITIONS, *GATE_GRADIENTS) as ran:
        yield ran


def channel(x: Tensor, *weights: Tensor) -> Tensor:
    return attention.channel_gate(x.mean((2, 3), dtype=weights[0].dtype), *weights)


def lines(hidden: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    return attention.line_gates(hidden, rest[:2], rest[2:], 21)


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]] = {
    "channel": (
        lambda *v: OPS.channel_gate(*v)[0],
        channel,
        [(11, 35, 3, 2), (3, 35), (35, 3)],
    ),
    "pixel": (
        lambda *v: OPS.pixel_gate(*v, WINDOW.to_ints()),
        lambda *v: attention.pixel_gate(*v, WINDOW),
        [(2, 9, 5, 4), (2, 9, 5, 4), (1, 2, 3, 3)],
    ),
    "wide pixel": (
        lambda *v: OPS.pixel_gate(*v, WINDOW.to_ints()),
        lambda *v: attention.pixel_gate(*v, WINDOW),
        [(1, 9, 3, 2), (1, 9, 3, 2), (1, 2, 1, 5)],
    ),
    "hidden": (
        OPS.line_hidden,
        attention.line_hidden,
        [(3, 67, 21), (3, 67, 5), (9, 67), (9,)],
    ),
    "lines": (
        lambda *v: OPS.line_gates(v[0], v[1:3], v[3:], 21),
        lines,
        [(3, 9, 26), (67, 9), (67, 9), (67,), (67,)],
    ),
}


def draw(name: str, dtype: torch.dtype, scale: float = 1.0) -> list[Tensor]:
    """Operands of a case: parameters and what comes from x in a dtype, statistics in float32."""
    generator = torch.Generator().manual_seed(len(name))
    values = [scale * torch.randn(shape, generator=generator) for shape in CASES[name][2]]
    single = {"channel": 0, "hidden": 2, "lines": 1}.get(name, 2)
    return [v if i < single else v.to(dtype) for i, v in enumerate(values)]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str, dtype: torch.dtype) -> None:
    """Every gradient, in the dtype of its operand."""
    operation, formula, _ = CASES[name]
    given = draw(name, dtype)
    results = []
    for kind in (None, torch.float32, torch.float64):
        leaves = [(v if kind is None else v.to(kind)).clone().requires_grad_() for v in given]
        found = (operation if kind is None else formula)(*leaves)
        found = found if isinstance(found, tuple) else (found,)
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(v.shape, generator=generator).to(v.dtype) for v in found]
        grads = torch.autograd.grad(found, leaves, weights)
        results.append([*(v.detach() for v in found), *grads])
    rows = []
    for index, (got, plain, exact) in enumerate(zip(*results, strict=True)):
        assert got.shape == exact.shape
        rows.append(compare(str(index), got, plain.to(got.dtype), exact, dtype=got.dtype))
    require(rows)
    for grad, value in zip(results[0][-len(given) :], given, strict=True):
        assert grad.dtype == value.dtype


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(name: str) -> None:
    """Of everything, through the gradients' own formulas."""
    operation, formula, _ = CASES[name]
    given = [v.requires_grad_() for v in draw(name, torch.float32, 0.5)]
    found = []
    for function in (operation, formula):
        outputs = function(*given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = sum(v.square().sum() for v in outputs)
        first = torch.autograd.grad(loss, given, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), given))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("layer", [RFCBAMConv2d, RFCAConv2d])
def test_layers_take_them(layer: type, on_cpu: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer is the same with and without them, and without where a hook would miss a call."""
    torch.manual_seed(0)
    fused = layer(6, 4, 3, stride=2).to(memory_format=torch.channels_last)
    plain = layer(6, 4, 3, stride=2, backend="reference")
    plain(torch.randn(4, 6, 7, 5))
    fused.load_state_dict(plain.state_dict())
    monkeypatch.setattr(rfaconv.nn._receptive_field, "infer", lambda *_: None)
    x = torch.randn(2, 6, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(fused.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-5)
    expected = ["channel_gate", "pixel_gate"] if layer is RFCBAMConv2d else ["coordinate_gates"]
    assert on_cpu == expected
    if layer is RFCAConv2d:
        calls: list[Any] = []
        fused.attention.bn1.register_forward_hook(lambda *_: calls.append(None))
        monkeypatch.setattr(coordinate, "gate_backend", lambda *_, **__: "")
        with torch.no_grad():
            torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)
        assert calls
        assert on_cpu == expected


@pytest.mark.parametrize("layer", [RFCBAMConv2d, RFCAConv2d])
def test_training_step(layer: type, on_cpu: list[str]) -> None:
    """Every gradient of a layer in training, and the running statistics, are as without them."""
    torch.manual_seed(0)
    layers = [layer(6, 4, 3, stride=2, backend=backend) for backend in ("auto", "reference")]
    layers[0].load_state_dict(layers[1].state_dict())
    found = []
    for each in layers:
        x = torch.randn(2, 6, 7, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
        each(x).square().sum().backward()
        state = {**dict(each.named_buffers()), **{n: p.grad for n, p in each.named_parameters()}}
        found.append({"x": x.grad, **state})
    for name, want in found[1].items():
        atol = 1e-4 * float(want.abs().max()) + 1e-6
        torch.testing.assert_close(found[0][name], want, rtol=1e-4, atol=atol, msg=name)
    forward = (
        ["channel_gate", "pixel_gate"] if layer is RFCBAMConv2d else ["line_hidden", "line_gates"]
    )
    assert on_cpu == [*forward, *(f"{name}_backward" for name in reversed(forward))]
