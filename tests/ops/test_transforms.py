"""What torch does to a function, the layers survive: compile, export, autocast, functorch, copies,
second derivatives.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.nn import CAConv2d, CAMConv2d, CBAMConv2d, UnfoldRFAConv2d

pytestmark = [
    pytest.mark.usefixtures("cpu_library"),
    # the compiler of some torch versions warns about parts of torch itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

LAYERS = [RFAConv2d, RFCBAMConv2d, RFCAConv2d]
layers = pytest.mark.parametrize("layer_class", LAYERS, ids=lambda c: c.__name__)


def _layer(layer_class: type[nn.Module], backend: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return layer_class(4, 6, 3, stride=2, backend=backend)  # type: ignore[call-arg]


def _step(function: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> list[Tensor]:
    module.zero_grad()
    x = x.clone().requires_grad_()
    y = function(x)
    y.square().sum().backward()
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    assert len(grads) == len(list(module.parameters()))
    assert x.grad is not None
    return [y.detach(), x.grad, *grads]


@layers
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_compile_without_graph_breaks(layer_class: type[nn.Module], train: bool) -> None:
    torch._dynamo.reset()
    module = _layer(layer_class).train(train)
    x = torch.randn(2, 4, 9, 8)
    twin = copy.deepcopy(module)
    expected = _step(twin, twin, x)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = _step(compiled, module, x)
    for result, value in zip(results, expected, strict=True):
        torch.testing.assert_close(result, value)


@layers
def test_compile_with_dynamic_shapes(layer_class: type[nn.Module]) -> None:
    torch._dynamo.reset()
    module = _layer(layer_class)
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for size in ((2, 4, 9, 8), (3, 4, 11, 6), (5, 4, 20, 21)):
        x = torch.randn(size)
        torch.testing.assert_close(compiled(x), copy.deepcopy(module)(x))
    assert len(graphs) == 1


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    module = _layer(RFAConv2d).eval()
    x = torch.randn(2, 4, 9, 8).to(memory_format=torch.channels_last)
    net = nn.Sequential(nn.Conv2d(4, 4, 1), module, nn.ReLU()).to(memory_format=torch.channels_last)
    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True)
        torch.testing.assert_close(compiled(x), net(x))


OLDEST = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7)

NIGHTLY = [pytest.param(c, marks=pytest.mark.nightly) for c in (RFCBAMConv2d, RFCAConv2d)]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("layer_class", [RFAConv2d, *NIGHTLY], ids=lambda c: c.__name__)
def test_training_compiled_by_inductor(layer_class: type[nn.Module], backend: str) -> None:
    """With fewer channels than a vector has lanes, where older Inductors wrote beyond a result."""
    if OLDEST and backend == "reference":
        pytest.skip("Inductor of torch 2.6 crashes at the gradients of the plain formulas")
    torch._dynamo.reset()
    module = layer_class(8, 6, 3, backend=backend)  # type: ignore[call-arg]
    twin, x = copy.deepcopy(module), torch.randn(2, 8, 12, 11)
    results = _step(torch.compile(module, fullgraph=True), module, x)
    names = ["y", "x", *(name for name, _ in module.named_parameters())]
    for name, result, value in zip(names, results, _step(twin, twin, x), strict=True):
        if name == "attention.conv1.bias":  # a BatchNorm takes it away: the gradient is rounding
            assert max(result.abs().max(), value.abs().max()) < 1e-3
            continue
        torch.testing.assert_close(result, value, rtol=1e-4, atol=1e-5)


OPEN = [
    RFAConv2d,
    *(
        pytest.param(c, marks=pytest.mark.nightly)
        for c in (RFCBAMConv2d, RFCAConv2d, UnfoldRFAConv2d, CAMConv2d, CBAMConv2d, CAConv2d)
    ),
]


@pytest.mark.skipif(OLDEST, reason="Inductor of torch 2.6 crashes at the plain formulas")
@pytest.mark.parametrize("layer_class", OPEN, ids=lambda c: c.__name__)
def test_training_of_the_plain_formulas_compiled_with_open_sizes(
    layer_class: type[nn.Module],
) -> None:
    torch._dynamo.reset()
    module = layer_class(8, 6, 3)
    if hasattr(module, "backend"):
        module.backend = "reference"
    twin = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for size in ((2, 8, 9, 7), (3, 8, 6, 11)):
        x = torch.randn(size)
        found, expected = _step(compiled, module, x), _step(twin, twin, x)
        for result, value in zip(found, expected, strict=True):
            # some gradients are zero but for rounding
            torch.testing.assert_close(result, value, rtol=1e-3, atol=1e-4)
        module.zero_grad()
        twin.zero_grad()


def test_compiled_auto_uses_the_kernels() -> None:
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(str(graph.code))
        return graph.forward

    torch.compile(_layer(RFAConv2d, "auto"), fullgraph=True, backend=backend)(
        torch.randn(2, 4, 9, 8)
    )
    assert "rfaconv.project" in graphs[0]


@layers
def test_autocast(layer_class: type[nn.Module]) -> None:
    """bfloat16 products, float32 parameters and gradients; the same numbers as the reference."""
    module = _layer(layer_class)
    plain = copy.deepcopy(module)
    plain.backend = "reference"
    x = torch.randn(2, 4, 9, 8)
    results = []
    for m in (module, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = m(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        results.append([y.detach().float(), *(p.grad for p in m.parameters())])
    for result, value in zip(*results, strict=True):
        assert result is not None
        assert value is not None
        scale = float(value.abs().max())
        torch.testing.assert_close(result, value, rtol=0.03, atol=0.03 * max(scale, 1e-3))


@layers
def test_bfloat16_module(layer_class: type[nn.Module]) -> None:
    module = _layer(layer_class).eval().to(torch.bfloat16)
    plain = copy.deepcopy(module)
    plain.backend = "reference"
    x = torch.randn(2, 4, 9, 8, dtype=torch.bfloat16)
    torch.testing.assert_close(module(x), plain(x), rtol=0.03, atol=0.03)


@layers
def test_export(layer_class: type[nn.Module]) -> None:
    """Exported graphs hold ordinary aten operations, and take other sizes."""
    if OLDEST and layer_class is RFCAConv2d:
        pytest.skip("torch 2.6 cannot keep the sizes of rows and columns open in torch.export")
    module = _layer(layer_class, "auto").eval()
    dim = torch.export.Dim
    shape = {0: dim("batch", min=2), 2: dim("height", min=8), 3: dim("width", min=8)}
    x = torch.randn(2, 4, 12, 14)
    program = torch.export.export(module, (x,), dynamic_shapes=(shape,))
    assert "rfaconv" not in str(program.graph)
    other = torch.randn(3, 4, 17, 12)
    torch.testing.assert_close(program.module()(other), module(other), rtol=1e-4, atol=1e-5)


@layers
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_functorch(layer_class: type[nn.Module]) -> None:
    module = _layer(layer_class, "auto").eval()
    x = torch.randn(3, 4, 9, 8)
    parameters = dict(module.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (x[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    module.zero_grad()
    module(x).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        total = per_sample[name].sum(0)
        torch.testing.assert_close(total, parameter.grad, rtol=1e-3, atol=1e-4)


def test_forward_derivative() -> None:
    module = _layer(RFAConv2d, "auto").eval()
    x, direction = torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 8)
    _, tangent = torch.func.jvp(module, (x,), (direction,))
    y = module(x.requires_grad_())
    cotangent = torch.randn_like(y)
    (grad,) = torch.autograd.grad(y, x, cotangent)
    torch.testing.assert_close(
        (tangent * cotangent).sum(), (grad * direction).sum(), rtol=1e-3, atol=1e-3
    )


@layers
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_second_derivative(layer_class: type[nn.Module], train: bool) -> None:
    """A gradient penalty gives the same gradients with and without the kernels."""
    results = []
    for backend in ("cpu", "reference"):
        module = _layer(layer_class, backend).train(train)
        x = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (grad,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
        penalty = torch.autograd.grad(
            grad.square().sum(), [x, *module.parameters()], allow_unused=True
        )
        results.append(penalty)
    assert sum(value is not None for value in results[0]) > 2
    for fused, plain in zip(*results, strict=True):
        assert (fused is None) == (plain is None)
        if fused is not None and plain is not None:
            bound = 1e-3 * float(plain.abs().max())
            torch.testing.assert_close(fused, plain, rtol=1e-3, atol=max(bound, 1e-6))


@layers
def test_copies(layer_class: type[nn.Module]) -> None:
    module = _layer(layer_class).eval()
    x = torch.randn(2, 4, 9, 8)
    expected = module(x)
    assert torch.equal(copy.deepcopy(module)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), expected)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), expected)


@layers
def test_checkpointing(layer_class: type[nn.Module]) -> None:
    module = _layer(layer_class).eval()
    x = torch.randn(2, 4, 9, 8)
    expected = _step(module, module, x)
    recomputed = _step(
        lambda v: torch.utils.checkpoint.checkpoint(module, v, use_reentrant=False), module, x
    )
    for result, value in zip(recomputed, expected, strict=True):
        torch.testing.assert_close(result, value)


@layers
def test_layer_equals_reference(layer_class: type[nn.Module]) -> None:
    """One training step with and without the kernels: output, all gradients, running statistics."""
    x = torch.randn(3, 4, 13, 10)
    fused, plain = _layer(layer_class), _layer(layer_class, "reference")
    for result, value in zip(_step(fused, fused, x), _step(plain, plain, x), strict=True):
        scale = float(value.abs().max()) + 1
        torch.testing.assert_close(result, value, rtol=1e-4, atol=1e-4 * scale)
    buffers = dict(plain.named_buffers())
    for name, value in fused.named_buffers():
        torch.testing.assert_close(value, buffers[name], msg=name)
