"""Gates of lines are not kept for the backward pass: it makes them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch
from interpreted.dispatcher import chosen, registered, stages_as_on_cuda
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rfaconv import RFCAConv2d, reference
from rfaconv.backends.triton.linked import launch as linked
from rfaconv.functional import coordinate
from rfaconv.geometry import Window

BATCH, CHANNELS, SIZE = 2, 32, (5, 4)
LINES = BATCH * CHANNELS * 3 * SIZE[0] * 4, BATCH * CHANNELS * 3 * SIZE[1] * 4
"""Bytes of one number per channel and row, and per channel and column."""


def project(x: Tensor, weight: Tensor, bias: Tensor, gate: list[Tensor], *rest: Any) -> Tensor:
    *others, window = rest
    return reference.project(x, weight, bias, gate[:2], *others, Window.from_ints(window))


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch, cpu_library: None) -> Iterator[list[str]]:
    """rfca's gates are made as on CUDA, in the interpreter; which of their operations ran."""
    stages_as_on_cuda(monkeypatch)
    monkeypatch.setattr(linked, "supports", lambda *_: False)  # test_linked.py has those
    monkeypatch.setattr(coordinate, "gate_backend", chosen)
    library = torch.library.Library("rfaconv", "IMPL")
    # the CPU's kernels for the rest, which are given no more than the gates
    library.impl("project", project, "CPU", allow_override=True)
    gates = "line_hidden", "line_hidden_backward", "line_gates", "line_gates_backward"
    with registered(*gates) as names:
        yield names
    library._destroy()


def pair() -> tuple[RFCAConv2d, RFCAConv2d, Tensor]:
    """A layer, its reference with the same parameters, and an input."""
    torch.manual_seed(0)
    fused, plain = (RFCAConv2d(CHANNELS, 3, 3, backend=name) for name in ("auto", "reference"))
    fused.load_state_dict(plain.state_dict())
    return fused, plain, torch.randn(BATCH, CHANNELS, *SIZE)


def test_saved_bytes(ran: list[str]) -> None:
    """Of four maps of lines autograd keeps the two that hold means; the gates come again."""
    layer, _, x = pair()
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape[:2]) == (BATCH, CHANNELS) and tensor.dim() == 3:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x.requires_grad_())
    assert sorted(kept.values()) == sorted(LINES)
    assert ran.count("line_gates") == 1
    y.square().sum().backward()
    assert ran.count("line_gates") == 2


def scaled(_: Any, __: Any, gates: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return gates[0] * 0.5, gates[1]


def swapped(_: Any, __: Any, gates: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return gates[0], gates[1] * 0.5


Hook = Callable[[Any, Any, tuple[Tensor, ...]], Any]


@pytest.mark.parametrize("hook", [None, scaled, swapped])
def test_gradients(hook: Hook | None, ran: list[str]) -> None:
    """As in the reference, also where a hook changes the gates, which are then kept."""
    fused, plain, x = pair()
    found = []
    for layer in (fused, plain):
        if hook is not None:
            layer.attention.register_forward_hook(hook)
        leaf = x.clone().requires_grad_()
        layer(leaf).square().sum().backward()
        found.append({"x": leaf.grad, **{n: p.grad for n, p in layer.named_parameters()}})
    for name, want in found[1].items():
        atol = 1e-4 * float(want.abs().max()) + 1e-5
        torch.testing.assert_close(found[0][name], want, rtol=1e-4, atol=atol, msg=name)
    assert ran.count("line_gates") == (2 if hook is None else 1)


def test_second_derivatives() -> None:
    """Through gates that the backward pass made."""
    fused, plain, x = pair()
    found = []
    for layer in (fused.eval(), plain.eval()):
        leaf = x.clone().requires_grad_()
        leaves = [leaf, *layer.parameters()]
        first = torch.autograd.grad(layer(leaf).square().sum(), leaves, create_graph=True)
        loss = sum(g.square().sum() for g in first)
        found.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))


def test_activation_checkpointing(ran: list[str]) -> None:
    """The forward pass runs once more, and then the gates come again as they do without."""
    fused, plain, x = pair()
    found = []
    for layer, call in ((fused, partial(checkpoint, use_reentrant=False)), (plain, _call)):
        leaf = x.clone().requires_grad_()
        call(layer, leaf).square().sum().backward()
        found.append([leaf.grad, *(p.grad for p in layer.parameters())])
    for got, want in zip(*found, strict=True):
        atol = 1e-4 * float(want.abs().max()) + 1e-5
        torch.testing.assert_close(got, want, rtol=1e-4, atol=atol)
    assert ran.count("line_gates") == 3


def _call(layer: RFCAConv2d, x: Tensor) -> Tensor:
    return layer(x)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",  # opcheck itself
)
def test_opcheck() -> None:
    """Schema, fake kernel and traced gradients of a projection that is given what gates are of."""
    torch.manual_seed(0)
    hidden, weights = torch.randn(1, 2, 15), [torch.randn(2, 2), torch.randn(2, 2)]
    source = [hidden, *weights, torch.randn(2), torch.randn(2)]
    gates = torch.ops.rfaconv.line_gates(hidden, weights, source[3:], 9)
    operands = [torch.randn(1, 2, 3, 2), torch.randn(2, 9, 9), torch.randn(2, 9)]
    given = [t.detach().requires_grad_() for t in (*operands, *gates, torch.randn(3, 2, 3, 3))]
    arguments = *given[:3], [*given[3:5], *source], given[5], None, "rfca", 1
    tests = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(
        torch.ops.rfaconv.project.default,
        (*arguments, Window.create(3).to_ints()),
        test_utils=[*tests, "test_aot_dispatch_dynamic"],
    )


def test_frozen_parts() -> None:
    """A gradient of the input alone, and of one layer of the gates alone."""
    fused, plain, x = pair()
    for name in ("x", "attention.conv_h.weight", "attention.conv1.weight"):
        found = []
        for layer in (fused, plain):
            leaf = x.clone().requires_grad_(name == "x")
            for key, parameter in layer.named_parameters():
                parameter.requires_grad_(key == name)
            target = leaf if name == "x" else layer.get_parameter(name)
            found.append(torch.autograd.grad(layer(leaf).square().sum(), target)[0])
        atol = 1e-4 * float(found[1].abs().max()) + 1e-5
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=atol, msg=name)


def test_the_projection_reads_its_gates_alone() -> None:
    """What follows the gates is for autograd."""
    torch.manual_seed(0)
    x, gates = torch.randn(1, 2, 3, 2), [torch.rand(1, 2, 9), torch.rand(1, 2, 6)]
    operands = x, torch.randn(2, 9, 9), torch.randn(2, 9)
    rest = torch.randn(3, 2, 3, 3), None, "rfca", 1, Window.create(3).to_ints()
    kernels = import_module("rfaconv.backends.triton.project.launch")
    more = [*gates, torch.full((1, 8, 15), torch.nan), *gates, *gates]
    assert torch.equal(
        kernels.project(*operands, gates, *rest), kernels.project(*operands, more, *rest)
    )
