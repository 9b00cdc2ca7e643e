"""Schema, fake kernels and gradients agree with what the kernels return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rfaconv.geometry import Window
from rfaconv.ops.schema import DEFINITIONS, memory_format_of

pytestmark = pytest.mark.usefixtures("cpu_library")

WINDOW = Window.create(3, (2, 1), (1, 2), (1, 2))
SIZE = (2, 4, 9, 8)


def _map(dtype: torch.dtype, channels_last: bool) -> Tensor:
    x = torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x.to(memory_format=torch.channels_last) if channels_last else x


def _gates(variant: str) -> list[Tensor]:
    b, c, height, width = *SIZE[:2], *WINDOW.output_size(SIZE[2:])
    return {
        "rfa": [torch.randn(c, 9)],
        "rfcbam": [torch.rand(b, c), torch.rand(b, 9, height, width)],
        "rfca": [torch.rand(b, c, 3 * height), torch.rand(b, c, 3 * width)],
        "none": [],
    }[variant]


def _arguments(op: str, variant: str, dtype: torch.dtype, channels_last: bool) -> tuple[Any, ...]:
    """Arguments of an op with all gradients wanted."""
    window = WINDOW.to_ints()
    x = _map(dtype, channels_last).requires_grad_()
    if op.startswith("patch_moments"):
        if op == "patch_moments":
            return x, window, "cpu"
        mean, cov = torch.ops.rfaconv.patch_moments(x.detach(), window, "cpu")
        return torch.randn_like(mean), torch.randn_like(cov), x, mean, window, "cpu"
    g = torch.randn(4, 9, 9).requires_grad_()
    b = torch.randn(4, 9).requires_grad_()
    if op.startswith("feature_stats"):
        if op == "feature_stats":
            return x, g, b, variant, window, "cpu"
        s0, s1 = torch.ops.rfaconv.feature_stats(
            x.detach(), g.detach(), b.detach(), variant, window, "cpu"
        )
        return torch.randn_like(s0), torch.randn_like(s1), x, g, b, s0, variant, window, "cpu"
    gate = [value.requires_grad_() for value in _gates(variant)]
    weight = torch.randn(5, 4, 3, 3).to(dtype).requires_grad_()
    if op == "project":
        bias = torch.randn(5).to(dtype).requires_grad_()
        return x, g, b, gate, weight, bias, variant, 1, window, "cpu"
    dy = torch.randn(2, 5, *WINDOW.output_size(SIZE[2:])).to(dtype)
    return dy, x, g, b, gate, weight, variant, 1, window, [True] * 5, "cpu"


CALLS = [
    (op, variant)
    for op in DEFINITIONS
    for variant in {"p": ("",), "f": ("rfcbam", "rfca")}.get(
        "p" if op.startswith("patch") else "f" if op.startswith("feature") else "",
        ("rfa", "rfcbam", "rfca", "none"),
    )
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize(("op", "variant"), CALLS, ids=["-".join(filter(None, c)) for c in CALLS])
def test_fake_matches_kernel(
    op: str, variant: str, dtype: torch.dtype, channels_last: bool
) -> None:
    """Shape, dtype and strides of every result, on maps that are not square."""
    arguments = _arguments(op, variant, dtype, channels_last)
    with torch.no_grad():
        real = getattr(torch.ops.rfaconv, op)(*arguments)
        with FakeTensorMode() as mode:
            converted = torch.utils._pytree.tree_map_only(Tensor, mode.from_tensor, arguments)
            fake = getattr(torch.ops.rfaconv, op)(*converted)
    pairs = list(
        zip(
            torch.utils._pytree.tree_leaves(real),
            torch.utils._pytree.tree_leaves(fake),
            strict=True,
        )
    )
    assert pairs
    for r, f in pairs:
        assert (r.shape, r.dtype, r.stride()) == (f.shape, f.dtype, f.stride())


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",  # opcheck itself
)
@pytest.mark.parametrize(("op", "variant"), CALLS, ids=["-".join(filter(None, c)) for c in CALLS])
def test_opcheck(op: str, variant: str) -> None:
    arguments = _arguments(op, variant, torch.float32, False)
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not op.endswith("_backward"):
        tests.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(getattr(torch.ops.rfaconv, op).default, arguments, test_utils=tests)


@pytest.mark.parametrize("index", range(5))
def test_unneeded_gradients_come_back_empty(index: int) -> None:
    arguments = list(_arguments("project_backward", "rfcbam", torch.float32, False))
    full = torch.ops.rfaconv.project_backward(*arguments)
    arguments[-2] = [i == index for i in range(5)]
    one = torch.ops.rfaconv.project_backward(*arguments)
    for i, (result, expected) in enumerate(zip(one, full, strict=True)):
        results = result if isinstance(result, list) else [result]
        values = expected if isinstance(expected, list) else [expected]
        for r, v in zip(results, values, strict=True):
            if i == index:
                torch.testing.assert_close(r, v)
            else:
                assert r.numel() == 0


INPUTS = ("x", "feature_weight", "feature_bias", "gate", "weight", "bias")


@pytest.mark.parametrize("wanted", INPUTS)
def test_gradient_of_one_input_alone(wanted: str) -> None:
    """Freezing the other inputs changes neither what is computed nor its value."""
    arguments = _arguments("project", "rfca", torch.float32, False)
    together = torch.ops.rfaconv.project(*arguments).square().sum()
    target = arguments[INPUTS.index(wanted)]
    target = target[1] if isinstance(target, list) else target
    (expected,) = torch.autograd.grad(together, target)
    frozen = [
        [t.detach() for t in a] if isinstance(a, list) and isinstance(a[0], Tensor)
        else a.detach() if isinstance(a, Tensor) else a
        for a in arguments
    ]  # fmt: skip
    leaf = target.detach().requires_grad_()
    position = INPUTS.index(wanted)
    frozen[position] = [frozen[position][0], leaf] if wanted == "gate" else leaf
    (alone,) = torch.autograd.grad(torch.ops.rfaconv.project(*frozen).square().sum(), leaf)
    torch.testing.assert_close(alone, expected)


def _saved_bytes(function: Any) -> int:
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = function()
    del result
    return sum(storages.values())


@pytest.mark.parametrize("variant", ["rfa", "rfcbam", "rfca"])
def test_nothing_large_is_saved(variant: str) -> None:
    """The map itself, small statistics and parameters: never one value per tap and pixel."""
    from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d

    layers = {"rfa": RFAConv2d, "rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}
    x = torch.randn(2, 32, 40, 40)
    layer = layers[variant](32, 32, 3, backend="cpu")
    parameters = sum(p.numel() for p in layer.parameters()) * 8 * 6
    per_pixel_and_tap = {"rfa": 0, "rfcbam": 6, "rfca": 0}[variant] * 2 * 9 * 40 * 40 * 4
    saved = _saved_bytes(lambda: layer(x))
    assert saved <= x.nbytes * 1.3 + parameters + per_pixel_and_tap
    assert saved < x.nbytes * 9


def test_memory_format_of_slices() -> None:
    x = torch.empty(2, 8, 5, 4)
    last = x.to(memory_format=torch.channels_last)
    assert memory_format_of(x) == torch.contiguous_format
    assert memory_format_of(x[:, 2:5]) == torch.contiguous_format
    assert memory_format_of(last) == torch.channels_last
    assert memory_format_of(last[:, 2:5]) == torch.channels_last
    assert memory_format_of(torch.empty(2, 8, 1, 1)) == torch.contiguous_format
    assert memory_format_of(torch.empty(2, 1, 5, 4)) == torch.contiguous_format
