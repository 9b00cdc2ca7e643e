"""Gates through the dispatcher: their gradients, and the layers that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from interpreted.dispatcher import on_cpu
from torch import Tensor, nn

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.backends.triton.attend.launch import attend
from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.reference import attention
from rfaconv.reference.parity import compare, require

OPS = torch.ops.rfaconv
WINDOW = Window.create(3)


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels as those of a CPU, where the interpreter runs them; which of them ran."""
    with on_cpu(monkeypatch) as names:
        yield names


def channel(x: Tensor, *weights: Tensor) -> Tensor:
    return attention.channel_gate(x.mean((2, 3), dtype=weights[0].dtype), *weights)


def lines(hidden: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    return attention.line_gates(hidden, rest[:2], rest[2:], 21)


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]] = {
    "channel": (
        lambda *v: OPS.channel_gate(*v, "triton")[0],
        channel,
        [(11, 35, 3, 2), (3, 35), (35, 3)],
    ),
    "pixel": (
        lambda *v: OPS.pixel_gate(*v, WINDOW.to_ints(), "triton"),
        lambda *v: attention.pixel_gate(*v, WINDOW),
        [(2, 9, 5, 4), (2, 9, 5, 4), (1, 2, 3, 3)],
    ),
    "wide pixel": (
        lambda *v: OPS.pixel_gate(*v, WINDOW.to_ints(), "triton"),
        lambda *v: attention.pixel_gate(*v, WINDOW),
        [(1, 9, 3, 2), (1, 9, 3, 2), (1, 2, 1, 5)],
    ),
    "hidden": (
        lambda *v: OPS.line_hidden(*v, "triton"),
        attention.line_hidden,
        [(3, 67, 21), (3, 67, 5), (9, 67), (9,)],
    ),
    "lines": (
        lambda *v: OPS.line_gates(v[0], v[1:3], v[3:], 21, "triton"),
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


LAYERS = {"rfa": RFAConv2d, "rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}


def pair(variant: str, **options: Any) -> list[nn.Module]:
    """A layer on the kernels and one on the reference, with the same parameters."""
    torch.manual_seed(0)
    layers = [LAYERS[variant](6, 4, 3, backend=b, **options) for b in ("triton", "reference")]
    layers[1](torch.randn(4, 6, 7, 5))
    layers[0].load_state_dict(layers[1].state_dict())
    return layers


@pytest.mark.parametrize("fused", [False, True], ids=["norm", "fused"])
@pytest.mark.parametrize("variant", LAYERS)
def test_a_layer_in_inference(variant: str, fused: bool, ran: list[str]) -> None:
    """One operation, with the BatchNorm of the features folded on the way or before."""
    layers = [layer.eval() for layer in pair(variant, stride=2)]
    layers[0] = layers[0].fuse() if fused else layers[0]
    x = torch.randn(2, 6, 7, 5)
    with torch.no_grad():
        got, want = (layer(x) for layer in layers)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert ran == ["attend"]


def test_a_hook_between_the_layers_of_a_gate(ran: list[str]) -> None:
    """It sees its call, and the kernels run stage by stage."""
    layers = [layer.eval() for layer in pair("rfca")]
    calls: list[Any] = []
    layers[0].attention.bn1.register_forward_hook(lambda *_: calls.append(None))
    x = torch.randn(2, 6, 3, 2)
    with torch.no_grad():
        got, want = (layer(x) for layer in layers)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert len(calls) == 1
    assert "attend" not in ran
    assert "project" in ran


@pytest.mark.parametrize("variant", LAYERS)
def test_training_step(variant: str, ran: list[str]) -> None:
    """Every gradient of a layer in training, and the running statistics, are as without them."""
    found = []
    for each in pair(variant, stride=2):
        x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        each(x).square().sum().backward()
        state = {**dict(each.named_buffers()), **{n: p.grad for n, p in each.named_parameters()}}
        found.append({"x": x.grad, **state})
    for name, want in found[1].items():
        atol = 1e-4 * float(want.abs().max()) + 1e-6
        torch.testing.assert_close(found[0][name], want, rtol=1e-4, atol=atol, msg=name)
    gates = {
        "rfa": [],
        "rfcbam": ["channel_gate", "pixel_gate"],
        "rfca": ["line_hidden", "line_gates"],
    }
    forward = ["patch_moments", "fold_statistics", "update_running", *gates[variant], "project"]
    forward += ["feature_stats"] if variant != "rfa" else []
    linked = ["project_linked_backward", "feature_stats_linked_backward"]
    backward = ["patch_moments_backward", "fold_statistics_backward"]
    backward += [f"{name}_backward" for name in gates[variant]]
    backward += linked if variant != "rfa" else ["project_backward"]
    assert sorted(ran) == sorted([*forward, *backward])


def bad(**changed: Any) -> dict[str, Any]:
    """Arguments of the operation of a layer, some of them changed."""
    given: dict[str, Any] = {
        "x": torch.zeros(1, 4, 5, 5), "feature_weight": torch.zeros(36, 1, 3, 3),
        "feature_bias": None, "feature_norm": [torch.ones(36) for _ in range(4)],
        "feature_eps": 1e-5, "attention": [torch.zeros(36, 1, 1, 1)], "attention_bias": [],
        "attention_norm": [], "attention_eps": 0.0, "weight": torch.zeros(2, 4, 3, 3),
        "bias": torch.zeros(2), "variant": "rfa", "groups": 1, "window": WINDOW.to_ints(),
    }  # fmt: skip
    return given | changed


def gates(variant: str, *shapes: tuple[int, ...]) -> dict[str, Any]:
    """Another operator, with weights of these shapes."""
    weights = [torch.zeros(shape) for shape in shapes]
    return {"variant": variant, "attention": weights, "attention_bias": [None] * 3}


BAD: list[tuple[str, dict[str, Any]]] = [
    ("x", {"x": torch.zeros(1, 4, 5)}),
    ("x", {"x": torch.zeros(1, 4, 5, 1).expand(1, 4, 5, 2**28)}),
    ("feature_weight", {"feature_weight": torch.zeros(35, 1, 3, 3)}),
    ("feature_norm.running_var", {"feature_norm": [torch.ones(36), torch.ones(35), None, None]}),
    ("feature_norm", {"feature_norm": [torch.ones(36), None, None, None]}),
    ("feature_bias", {"feature_norm": [], "feature_bias": torch.zeros(4)}),
    ("attention_weight", {"attention": [torch.zeros(30, 1, 1, 1)]}),
    ("attention", {"attention": []}),
    ("weight", {"weight": torch.zeros(2, 3, 3, 3)}),
    ("weight", {"weight": torch.zeros(2, 4, 3, 3, device="meta")}),
    ("weight", {"weight": torch.zeros(2, 4, 3, 3, dtype=torch.float16)}),
    ("bias", {"bias": torch.zeros(3)}),
    ("groups", {"groups": 2}),
    ("variant", {"variant": "cbam"}),
    ("reduce_weight", gates("rfcbam", (2, 5), (4, 2), (1, 2, 3, 3))),
    ("expand_weight", gates("rfcbam", (2, 4), (4, 3), (1, 2, 3, 3))),
    ("weight", gates("rfcbam", (2, 4), (4, 2), (1, 3, 3, 3))),
    ("attention.conv_h.weight", gates("rfca", (2, 4, 1, 1), (4, 3, 1, 1), (4, 2, 1, 1))),
]


@pytest.mark.parametrize(("name", "changed"), BAD, ids=[f"{n}-{i}" for i, (n, _) in enumerate(BAD)])
def test_operands_that_do_not_fit(name: str, changed: dict[str, Any]) -> None:
    """Every kernel takes addresses, so every operand is checked."""
    with pytest.raises(InvalidArgument, match=rf"^{name}: "):
        attend(**bad(**changed))


def test_freed_memory_is_noticed() -> None:
    """As sharded training leaves parameters between the calls of their module."""
    weight = torch.zeros(2, 4, 3, 3)
    weight.untyped_storage().resize_(0)
    with pytest.raises(InvalidArgument, match=r"^weight: .*storage was freed"):
        attend(**bad(weight=weight))
