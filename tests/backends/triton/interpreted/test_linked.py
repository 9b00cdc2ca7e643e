"""Linked backward passes: one walk from the features' gradient to the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from interpreted.dispatcher import chosen, registered, stages_as_on_cuda
from rfaconv.ops.linked import LINKED_DEFINITIONS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfaconv import RFCAConv2d, RFCBAMConv2d
from rfaconv.backends.cases import Case, parity
from rfaconv.backends.triton import launch, linked
from rfaconv.functional import coordinate, stages
from rfaconv.functional.operators import rfcbam_conv
from rfaconv.geometry import Window
from rfaconv.reference.parity import require

LAYERS = {"rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}
BATCH, CHANNELS, SIZE = 2, 8, (3, 2)
SEPARATE = ("feature_stats", "feature_stats_backward", "project_backward", "project")
variants = pytest.mark.parametrize("variant", list(LAYERS))


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch, large_tiles: None) -> Iterator[list[str]]:
    """Statistics and projection as on CUDA, in the interpreter; which operations ran."""
    stages_as_on_cuda(monkeypatch)
    with registered(*LINKED_DEFINITIONS, *SEPARATE) as names:
        yield names


def pair(variant: str, **options: Any) -> tuple[nn.Module, nn.Module, Tensor]:
    """A layer, its reference with the same parameters, and an input."""
    torch.manual_seed(0)
    layer = LAYERS[variant]
    fused, plain = (
        layer(CHANNELS, 5, 3, backend=name, **options) for name in ("auto", "reference")
    )
    fused.load_state_dict(plain.state_dict())
    return fused, plain, torch.randn(BATCH, CHANNELS, *SIZE).to(memory_format=torch.channels_last)


def gradients(layer: nn.Module, x: Tensor, call: Any = None) -> dict[str, Tensor]:
    """Output and gradients of a loss that weights every number differently."""
    leaf = x.clone().requires_grad_()
    y = (call or (lambda layer, x: layer(x)))(layer, leaf)
    factors = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    (y * factors).sum().backward()
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "x": leaf.grad, **found}


def agree(got: dict[str, Tensor], want: dict[str, Tensor], rtol: float = 1e-4) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        atol = rtol * float(value.abs().max()) + 1e-5
        torch.testing.assert_close(got[name], value, rtol=rtol, atol=atol, msg=name)


@variants
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(variant: str, stride: int, ran: list[str]) -> None:
    """Of every parameter and of the input, as in the reference."""
    fused, plain, x = pair(variant, stride=stride)
    agree(gradients(fused, x), gradients(plain, x))
    assert sorted(ran) == sorted(LINKED_DEFINITIONS)


def test_gates_made_again(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rfca's gates, which come from kernels as well, the hidden channels are kept."""
    monkeypatch.setattr(coordinate, "gate_backend", chosen)
    fused, plain, x = pair("rfca")
    gates = "line_hidden", "line_hidden_backward", "line_gates", "line_gates_backward"
    with registered(*gates) as made:
        agree(gradients(fused, x), gradients(plain, x))
    assert made.count("line_gates") == 2
    assert ran.count("feature_stats_linked_backward") == 1


@pytest.mark.parametrize("from_kernels", [False, True])
def test_a_hook_on_the_gates(
    from_kernels: bool, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk takes the gates that the projection was given, made again or not."""
    fused, plain, x = pair("rfca")
    for layer in (fused, plain):
        layer.attention.register_forward_hook(lambda _, __, gates: (gates[0], gates[1] * 0.5))
    names = ["line_hidden", "line_hidden_backward", "line_gates", "line_gates_backward"]
    if from_kernels:
        monkeypatch.setattr(coordinate, "gate_backend", chosen)
    with registered(*names) as made:
        agree(gradients(fused, x), gradients(plain, x))
    assert made.count("line_gates") == from_kernels
    assert ran.count("feature_stats_linked_backward") == 1


@variants
def test_chunks_of_images(variant: str, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace for one image at a time; the features' gradient is that of all."""
    fused, plain, x = pair(variant)
    monkeypatch.setattr(launch, "WORKSPACE_BYTES", 1)
    monkeypatch.setattr(linked, "WORKSPACES", 2**30)
    agree(gradients(fused, x), gradients(plain, x))
    assert sorted(ran) == sorted(LINKED_DEFINITIONS)


@variants
def test_large_maps_are_not_linked(
    variant: str, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the panel's gradient would take more than some workspaces."""
    fused, _, x = pair(variant)
    size = x.numel() * 9 * 4
    for budget, names in ((size, LINKED_DEFINITIONS), (size - 4, SEPARATE)):
        ran.clear()
        monkeypatch.setattr(launch, "WORKSPACE_BYTES", budget / linked.WORKSPACES)
        fused(x.clone().requires_grad_())
        assert ran == [name for name in names if not name.endswith("backward")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@variants
def test_parity(variant: str, dtype: torch.dtype) -> None:
    """In 16 bits as close to float64 as plain torch in the same dtype allows."""
    shape = Case(op="linked", channels=16, out_channels=5, size=(3, 2), channels_last=True)
    require(parity(replace(shape, variant=variant, dtype=dtype)))


def test_ties() -> None:
    """Channels that share the maximum share its gradient, whatever tile they are in."""
    fused, plain, x = pair("rfcbam")
    for layer in (fused.eval(), plain.eval()):
        with torch.no_grad():
            layer.feature_weight.copy_(layer.feature_weight[:9].repeat(8, 1, 1, 1))
    x = x[:, :1].repeat(1, 8, 1, 1).to(memory_format=torch.channels_last)
    agree(gradients(fused, x), gradients(plain, x))


def test_a_channel_gate_of_zero() -> None:
    """Its gradient does not depend on its value."""
    torch.manual_seed(0)
    parts = {
        "feature_weight": torch.randn(8, 9, 9), "feature_bias": torch.randn(8, 9),
        "spatial_weight": torch.randn(1, 2, 3, 3),
    }  # fmt: skip
    x, weight = torch.randn(2, 8, 3, 2), torch.randn(5, 8, 3, 3)
    gate, found = torch.rand(2, 8), []
    gate[:, ::3] = 0
    for backend in ("auto", "reference"):
        leaves = [x.clone().requires_grad_(), gate.clone().requires_grad_()]
        y = rfcbam_conv(leaves[0], weight, channel_gate=leaves[1], backend=backend, **parts)
        found.append(torch.autograd.grad(y.square().sum(), leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_another_channel_gate(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A projection with another gate than the statistics were told of takes the separate way."""
    fused, plain, x = pair("rfcbam")
    for layer in (fused, plain):
        given = layer.gate_tensors

        def halved(input: Tensor, field: Any, given: Any = given) -> tuple[Tensor, Tensor]:
            channel, pixel = given(input, field)
            return channel * 0.5, pixel

        monkeypatch.setattr(layer, "gate_tensors", halved)
    agree(gradients(fused, x), gradients(plain, x))
    assert "project" in ran
    assert "feature_stats_linked_backward" not in ran


@variants
def test_parts_that_are_not_used(variant: str, ran: list[str]) -> None:
    """Statistics that no gate depends on, and gates without a projection."""
    window = Window.create(3)
    for used in ("project", "stats"):
        found = []
        for backend in ("auto", "reference"):
            torch.manual_seed(0)
            leaves = [torch.randn(s, requires_grad=True) for s in ((2, 8, 3, 2), (8, 9, 9), (8, 9))]
            weight = torch.randn(5, 8, 3, 3)
            field = stages.receptive_field(*leaves, window, variant, 1, backend)
            channel = torch.rand(2, 8)
            stats = stages.linked_stats(field, channel if variant == "rfcbam" else None)
            gates = [s.detach().sigmoid() for s in stats]
            gates = [channel, gates[1]] if variant == "rfcbam" else gates
            if used == "project":
                loss = stages.project(field, gates, weight).square().sum()
            else:
                loss = stats[0].square().sum()
            found.append(torch.autograd.grad(loss, leaves))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@variants
def test_two_projections(variant: str) -> None:
    """Only the first of them is linked."""
    found = []
    for backend in ("auto", "reference"):
        torch.manual_seed(0)
        leaves = [torch.randn(s, requires_grad=True) for s in ((2, 8, 3, 2), (8, 9, 9), (8, 9))]
        weight, channel = torch.randn(5, 8, 3, 3), torch.rand(2, 8, requires_grad=True)
        field = stages.receptive_field(*leaves, Window.create(3), variant, 1, backend)
        stats = stages.linked_stats(field, channel if variant == "rfcbam" else None)
        gates = [s.sigmoid() for s in stats]
        gates = [channel, gates[1]] if variant == "rfcbam" else gates
        first, second = (stages.project(field, gates, weight) for _ in range(2))
        leaves += [channel] if variant == "rfcbam" else []
        found.append(torch.autograd.grad(first.square().sum() + second.sum(), leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@variants
def test_frozen_parts(variant: str, ran: list[str]) -> None:
    """The input alone, one parameter alone; nothing is linked where no gradient of features is."""
    fused, plain, x = pair(variant)
    for name in ("x", "feature_weight", "weight"):
        ran.clear()
        found = []
        for layer in (fused.eval(), plain.eval()):
            leaf = x.clone().requires_grad_(name == "x")
            for key, parameter in layer.named_parameters():
                parameter.requires_grad_(key == name)
            target = leaf if name == "x" else layer.get_parameter(name)
            found.append(torch.autograd.grad(layer(leaf).square().sum(), target)[0])
        atol = 1e-4 * float(found[1].abs().max()) + 1e-5
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=atol, msg=name)
        assert ("project_linked" in ran) == (name != "weight")


@variants
def test_second_derivatives(variant: str) -> None:
    """Through both backward passes."""
    fused, plain, x = pair(variant)
    found = []
    for layer in (fused.eval(), plain.eval()):
        leaf = x.clone().requires_grad_()
        leaves = [leaf, *layer.parameters()]
        first = torch.autograd.grad(layer(leaf).square().sum(), leaves, create_graph=True)
        loss = sum(g.square().sum() for g in first)
        found.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


@variants
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(variant: str, reentrant: bool) -> None:
    fused, plain, x = pair(variant)
    call = partial(checkpoint, use_reentrant=reentrant)
    agree(gradients(fused, x, call), gradients(plain, x))


@variants
def test_twice_through_one_graph(variant: str) -> None:
    """``retain_graph``: the same gradients again."""
    fused, _, x = pair(variant)
    leaf = x.clone().requires_grad_()
    loss = fused(leaf).square().sum()
    first = torch.autograd.grad(loss, [leaf, *fused.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [leaf, *fused.parameters()])
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@variants
def test_nothing_is_kept_twice(variant: str) -> None:
    """Beside what separate operations keep: the ties, a byte per pixel and tap."""
    fused, _, x = pair(variant)
    sizes = []
    for bound in (linked.WORKSPACES, 0):
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linked, "WORKSPACES", bound)
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                y = fused(x.clone().requires_grad_())
        sizes.append(sum(kept.values()))
        del y
    assert sizes[0] - sizes[1] == (2 * 9 * 6 if variant == "rfcbam" else 0)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",  # opcheck itself
)
@variants
def test_opcheck(variant: str) -> None:
    """Schemas, fake kernels and registration of the gradients."""
    torch.manual_seed(0)
    window = Window.create(3).to_ints()
    operands = [torch.randn(1, 2, 3, 2), torch.randn(2, 9, 9), torch.randn(2, 9)]
    operands = [t.requires_grad_() for t in operands]
    channel = torch.rand(1, 2, requires_grad=True) if variant == "rfcbam" else None
    weight = torch.randn(3, 2, 3, 3, requires_grad=True)
    stats = torch.ops.rfaconv.feature_stats_linked(*operands, channel, variant, window)
    s0, s1, ties, *stand_ins = (t.detach() for t in stats)
    gates = [s.sigmoid().requires_grad_() for s in (s0, s1)]
    gates = [channel, gates[1]] if channel is not None else gates
    y, dpanel = torch.randn(1, 3, 3, 2), torch.randn(stand_ins[0].shape)
    cases = {
        "feature_stats_linked": (*operands, channel, variant, window),
        "feature_stats_linked_backward": (
            s0, s1, dpanel, gates, *operands, s0, ties, variant, window,
        ),
        "project_linked": (
            *(s.requires_grad_() for s in stand_ins), *operands, gates, weight, None, variant,
            window,
        ),
        "project_linked_backward": (y, *operands, gates, weight, variant, window),
    }  # fmt: skip
    assert cases.keys() == LINKED_DEFINITIONS.keys()
    tests = ["test_schema", "test_autograd_registration"]
    # lines lie in memory as on CUDA, which fake kernels expect of CUDA tensors alone
    tests += ["test_faketensor"] if variant == "rfcbam" else []
    for name, arguments in cases.items():
        operation = getattr(torch.ops.rfaconv, name).default
        torch.library.opcheck(operation, arguments, test_utils=tests)
