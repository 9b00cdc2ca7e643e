"""Linked backward passes: one row scan from the features' gradient to the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from interpreted.dispatcher import on_cpu
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfaconv import RFCAConv2d, RFCBAMConv2d
from rfaconv.backends.cases import Case, parity
from rfaconv.backends.triton.common import launch
from rfaconv.errors import InvalidArgument
from rfaconv.functional import _select
from rfaconv.functional.field import feature_stats, receptive_field
from rfaconv.functional.operators import rfca_conv, rfcbam_conv
from rfaconv.functional.projection import project
from rfaconv.geometry import Window
from rfaconv.ops import linked
from rfaconv.reference.parity import require

LAYERS = {"rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}
BATCH, CHANNELS, SIZE = 2, 8, (3, 2)
LINKED = {"project_linked_backward", "feature_stats_linked_backward"}
SEPARATE = {"feature_stats_backward", "project_backward"}
WINDOW, OPS = Window.create(3), torch.ops.rfaconv
variants = pytest.mark.parametrize("variant", list(LAYERS))


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch, large_tiles: None) -> Iterator[list[str]]:
    """The kernels as those of a CPU, where the interpreter runs them; which of them ran."""
    with on_cpu(monkeypatch) as names:
        yield names


def pair(
    variant: str, *, training: bool = False, **options: Any
) -> tuple[nn.Module, nn.Module, Tensor]:
    """A layer, its reference with the same parameters, and an input.

    In evaluation the moments of the patches, which cost the interpreter most, are not taken.
    """
    torch.manual_seed(0)
    layer = LAYERS[variant]
    fused, plain = (
        layer(CHANNELS, 5, 3, backend=name, **options).train(training)
        for name in ("triton", "reference")
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
    fused, plain, x = pair(variant, training=stride == 1, stride=stride)
    agree(gradients(fused, x), gradients(plain, x))
    assert set(ran) >= LINKED
    assert not SEPARATE & set(ran)


@variants
def test_a_hook_on_what_makes_the_gates(variant: str, ran: list[str]) -> None:
    """It sees its call and may change the gates; the scan takes those that were projected."""
    fused, plain, x = pair(variant)
    for layer in (fused, plain):
        child = layer.attention.conv_h if variant == "rfca" else layer.se
        child.register_forward_hook(lambda _, __, gates: gates * 0.5)
    agree(gradients(fused, x), gradients(plain, x))
    assert set(ran) >= LINKED


def halve(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.5)


@pytest.mark.parametrize("kind", ["tensor", "accumulation"])
def test_hooks_on_parameters_fire_once(kind: str, ran: list[str]) -> None:
    """One that scales a gradient must not scale it twice: such layers are not linked."""
    fused, plain, x = pair("rfca")
    for layer in (fused, plain):
        weight = layer.attention.conv_h.weight
        if kind == "tensor":
            weight.register_hook(lambda grad: grad * 0.5)
        else:
            weight.register_post_accumulate_grad_hook(halve)
    agree(gradients(fused, x), gradients(plain, x))
    assert not LINKED & set(ran)


class Doubled(torch.autograd.Function):
    """Somebody's own operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


@pytest.mark.parametrize("case", ["own function", "own tensor", "made before", "other features"])
def test_gates_of_unknown_origin_are_not_linked(case: str, ran: list[str]) -> None:
    found = []
    for backend in ("triton", "reference"):
        torch.manual_seed(0)
        leaves = [torch.randn(s, requires_grad=True) for s in ((2, 8, 3, 2), (8, 9, 9), (8, 9))]
        extra, weight = torch.rand(8, 1, requires_grad=True), torch.randn(5, 8, 3, 3)
        scale = extra.exp()

        def gates(
            means: Any, scale: Tensor = scale, extra: Tensor = extra, leaves: Any = leaves,
            backend: str = backend,
        ) -> Any:  # fmt: skip
            made = [m.sigmoid() for m in means]
            if case == "own function":
                return [Doubled.apply(m) for m in made]
            if case == "own tensor":
                return [m * extra for m in made]
            if case == "made before":
                return [m * scale for m in made]
            x, *rest = leaves
            other = receptive_field(x, rest[0], rest[1] + 1, WINDOW, "rfca", 1, backend)
            return [m * s for m, s in zip(made, feature_stats(other), strict=True)]

        y = rfca_conv(
            leaves[0], weight, gates=gates, feature_weight=leaves[1], feature_bias=leaves[2],
            backend=backend,
        )  # fmt: skip
        leaves += [extra] if case in ("own tensor", "made before") else []
        found.append(torch.autograd.grad(y.square().sum(), leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    assert not LINKED & set(ran)


@variants
def test_chunks_of_images(variant: str, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace for one image at a time; the features' gradient is that of all."""
    fused, plain, x = pair(variant)
    monkeypatch.setattr(launch, "WORKSPACE_BYTES", 1)
    agree(gradients(fused, x), gradients(plain, x))
    assert set(ran) >= LINKED


@variants
def test_large_maps_are_not_linked(
    variant: str, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the panel's gradient would take too much."""
    fused, plain, x = pair(variant)
    size = x.numel() * 9 * 4
    for budget, names in ((size, LINKED), (size - 4, SEPARATE)):
        ran.clear()
        monkeypatch.setattr(linked, "LARGEST", budget)
        agree(gradients(fused, x), gradients(plain, x))
        assert set(ran) & (LINKED | SEPARATE) == names


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@variants
def test_parity(variant: str, dtype: torch.dtype) -> None:
    """In 16 bits as close to float64 as plain torch in the same dtype allows."""
    shape = Case(
        op="linked", backend="triton", channels=16, out_channels=5, size=(3, 2), channels_last=True
    )
    require(parity(replace(shape, variant=variant, dtype=dtype)))


def test_ties() -> None:
    """Channels that share the maximum share its gradient, whatever tile they are in."""
    fused, plain, x = pair("rfcbam")
    for layer in (fused, plain):
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
    for backend in ("triton", "reference"):
        leaves = [x.clone().requires_grad_(), gate.clone().requires_grad_()]
        y = rfcbam_conv(leaves[0], weight, channel_gate=leaves[1], backend=backend, **parts)
        found.append(torch.autograd.grad(y.square().sum(), leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@variants
def test_parts_that_are_not_used(variant: str, ran: list[str]) -> None:
    """Statistics that no gate depends on, and gates without a projection."""
    window = Window.create(3)
    for used in ("project", "stats"):
        found = []
        for backend in ("triton", "reference"):
            torch.manual_seed(0)
            leaves = [torch.randn(s, requires_grad=True) for s in ((2, 8, 3, 2), (8, 9, 9), (8, 9))]
            weight = torch.randn(5, 8, 3, 3)
            field = receptive_field(*leaves, window, variant, 1, backend)
            channel = torch.rand(2, 8)
            stats = feature_stats(field)
            gates = [s.detach().sigmoid() for s in stats]
            gates = [channel, gates[1]] if variant == "rfcbam" else gates
            if used == "project":
                loss = project(field, gates, weight).square().sum()
            else:
                loss = stats[0].square().sum()
            found.append(torch.autograd.grad(loss, leaves))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@variants
def test_two_projections(variant: str) -> None:
    """Each takes its own gates' gradients through what made them."""
    found = []
    for backend in ("triton", "reference"):
        torch.manual_seed(0)
        leaves = [torch.randn(s, requires_grad=True) for s in ((2, 8, 3, 2), (8, 9, 9), (8, 9))]
        weight, channel = torch.randn(5, 8, 3, 3), torch.rand(2, 8, requires_grad=True)
        field = receptive_field(*leaves, Window.create(3), variant, 1, backend)
        stats = feature_stats(field)
        gates = [s.sigmoid() for s in stats]
        gates = [channel, gates[1]] if variant == "rfcbam" else gates
        first, second = (project(field, gates, weight) for _ in range(2))
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
        for layer in (fused, plain):
            leaf = x.clone().requires_grad_(name == "x")
            for key, parameter in layer.named_parameters():
                parameter.requires_grad_(key == name)
            target = leaf if name == "x" else layer.get_parameter(name)
            found.append(torch.autograd.grad(layer(leaf).square().sum(), target)[0])
        atol = 1e-4 * float(found[1].abs().max()) + 1e-5
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=atol, msg=name)
        assert bool(LINKED & set(ran)) == (name != "weight")


@variants
def test_second_derivatives(variant: str) -> None:
    """Through both backward passes."""
    fused, plain, x = pair(variant)
    found = []
    for layer in (fused, plain):
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
def test_nothing_is_kept_twice(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linked, a layer keeps what it keeps apart, and nothing that a hook of autograd cannot see."""
    fused, _, x = pair(variant)
    # the hook that weighs what is saved must not keep the passes apart, as a checkpoint does
    monkeypatch.setattr(_select, "saved_tensors_hooked", lambda: False)
    sizes = []
    for bound in (linked.LARGEST, 0):
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        monkeypatch.setattr(linked, "LARGEST", bound)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = fused(x.clone().requires_grad_())
        sizes.append(sum(kept.values()))
        del y
    assert sizes[0] <= sizes[1]


@variants
def test_operands_that_do_not_fit(variant: str) -> None:
    """Both operations check what they are given."""
    x, fw, fb = torch.zeros(1, 2, 3, 2), torch.zeros(2, 9, 9), torch.zeros(2, 9)
    s0, s1 = torch.ops.rfaconv.feature_stats(x, fw, fb, variant, WINDOW.to_ints(), "triton")
    gate = [torch.zeros(1, 2), s1] if variant == "rfcbam" else [s0, s1]
    rest = variant, WINDOW.to_ints(), "triton"
    weight, dpanel = torch.zeros(3, 2, 3, 3), torch.zeros(1, 3, 2, 9, 2)
    with pytest.raises(InvalidArgument, match="dy: "):
        OPS.project_linked_backward(torch.zeros(1, 3, 3, 3), x, fw, fb, gate, weight, *rest)
    with pytest.raises(InvalidArgument, match="dpanel: "):
        OPS.feature_stats_linked_backward(s0, s1, dpanel[:, 1:], gate, x, fw, fb, s0, *rest)
    with pytest.raises(InvalidArgument, match="d1: "):
        OPS.feature_stats_linked_backward(s0, s1[:0], dpanel, gate, x, fw, fb, s0, *rest)


@variants
def test_fake_results_are_like_real_ones(variant: str) -> None:
    x, fw, fb = torch.randn(1, 2, 3, 2), torch.randn(2, 9, 9), torch.randn(2, 9)
    rest = variant, WINDOW.to_ints(), "triton"
    s0, s1 = OPS.feature_stats(x, fw, fb, *rest)
    gate = [torch.rand(1, 2), s1] if variant == "rfcbam" else [s0, s1]
    dy, weight, dpanel = (
        torch.randn(1, 3, 3, 2),
        torch.randn(3, 2, 3, 3),
        torch.randn(1, 3, 2, 9, 2),
    )
    cases = {
        "project_linked_backward": (dy, x, fw, fb, gate, weight, *rest),
        "feature_stats_linked_backward": (s0, s1, dpanel, gate, x, fw, fb, s0, *rest),
    }
    assert cases.keys() == linked.DEFINITIONS.keys()
    for name, arguments in cases.items():
        operation = getattr(OPS, name).default
        torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))
