"""Parameters and children that somebody put in place of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing.holding import (
    LAYERS,
    assert_composed,
    assert_refused,
    for_every_parameter,
    held,
    layers,
    operators,
    owner,
)
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


@layers
def test_new_parameter(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        setattr(module, name, nn.Parameter(torch.randn(getattr(module, name).shape)))
        assert_composed(layer)

    for_every_parameter(operator, check)


@layers
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16])
def test_new_parameter_of_another_size(operator: str, rows: int) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        shape = getattr(module, name).shape
        setattr(module, name, nn.Parameter(torch.randn(rows, *shape[1:])))
        assert_composed(layer, refusable=True)  # torch may broadcast it

    for_every_parameter(operator, check)


@layers
def test_new_parameter_of_another_rank(operator: str) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        values = getattr(module, name).detach()
        setattr(module, name, nn.Parameter(values[None].expand(2, *values.shape).clone()))
        assert_composed(layer, refusable=True)  # torch may broadcast it

    for_every_parameter(operator, check)


@layers
def test_no_bias(operator: str) -> None:
    layer = held(operator)
    layer.bias = None
    assert_composed(layer)
    layer.bias = nn.Parameter(torch.randn(8))
    assert_composed(layer)


class _OwnNorm(nn.Module):
    """A norm that nobody knows: of each map by itself."""

    def forward(self, z: Tensor) -> Tensor:
        return z / (1 + z.square().mean((2, 3), keepdim=True)).sqrt()


class _Renamed(nn.BatchNorm2d):
    """A BatchNorm that does something else."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) * 0.5 + 1


def _trained(norm: Any, width: int) -> Any:
    """With statistics of its own, in evaluation."""
    for _ in range(2):
        norm(torch.randn(3, width, 4, 5) * 2 + 0.5)
    return norm.eval()


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "own": lambda n: _OwnNorm(),
    "identity": lambda n: nn.Identity(),
    "group norm": lambda n: nn.GroupNorm(4, n),
    "instance norm": lambda n: nn.InstanceNorm2d(n, affine=True),
    "instance norm with statistics": lambda n: nn.InstanceNorm2d(n, track_running_stats=True),
    "frozen": lambda n: FrozenBatchNorm2d(n),
    "frozen of timm": lambda n: FrozenBatchNormAct2d(n),
    "with activation": lambda n: BatchNormAct2d(n, act_layer=nn.SiLU),
    "synchronised": lambda n: nn.SyncBatchNorm(n),
    "without affine": lambda n: nn.BatchNorm2d(n, affine=False),
    "without statistics": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "with another epsilon": lambda n: nn.BatchNorm2d(n, eps=0.3),
    "with the plain average": lambda n: nn.BatchNorm2d(n, momentum=None),
    "subclass": lambda n: _Renamed(n),
    "two": lambda n: nn.Sequential(nn.BatchNorm2d(n), nn.BatchNorm2d(n, eps=0.1)),
    "lazy": lambda n: nn.LazyBatchNorm2d(),
}
PLACES = {
    "rfa": ("feature_norm",),
    "rfcbam": ("feature_norm",),
    "rfca": ("feature_norm", "attention.bn1"),
    "ca": ("attention.bn1",),
    "unfold": ("attention_norm",),
}
places = pytest.mark.parametrize(
    ("operator", "place"), [(name, place) for name, found in PLACES.items() for place in found]
)


@places
@pytest.mark.parametrize("kind", NORMS)
def test_another_norm(operator: str, place: str, kind: str) -> None:
    layer = held(operator)
    width = layer.get_submodule(place).num_features
    norm = _trained(NORMS[kind](width), width)
    module, name = owner(layer, place)
    setattr(module, name, norm)
    assert_composed(layer)


@places
@pytest.mark.parametrize("width", [1, 3, 64, 144])
def test_a_norm_of_another_size(operator: str, place: str, width: int) -> None:
    layer = held(operator)
    module, name = owner(layer, place)
    setattr(module, name, nn.BatchNorm2d(width).eval())
    assert_composed(layer)


@places
def test_a_norm_in_the_other_mode(operator: str, place: str) -> None:
    layer = held(operator)
    layer.get_submodule(place).train()
    assert_composed(layer, training=False)
    layer.train()
    layer.get_submodule(place).eval()
    assert_composed(layer, training=False)


@places
def test_attributes_of_a_norm(operator: str, place: str) -> None:
    layer = held(operator)
    norm = layer.get_submodule(place)
    norm.eps = 0.5
    assert_composed(layer)
    norm.momentum = None
    assert_composed(layer)
    norm.running_mean = norm.running_mean + 1
    assert_composed(layer)
    norm.running_mean, norm.running_var = None, None
    assert_composed(layer)


@places
def test_half_of_an_affine_norm(operator: str, place: str) -> None:
    """Torch's function takes a scale without a shift, and the other way."""
    for name in ("weight", "bias"):
        layer = held(operator)
        setattr(layer.get_submodule(place), name, None)
        assert_composed(layer, refusable=True)


class _Adapted(nn.Module):
    """What a low-rank adapter puts in place of a layer, with the attributes of the layer."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base
        self.scale = nn.Parameter(torch.tensor(0.5))

    @property
    def weight(self) -> Tensor:
        return self.base.weight  # type: ignore[no-any-return]

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) * (1 + self.scale)  # type: ignore[no-any-return]


def _children() -> list[tuple[str, str]]:
    found = []
    for operator, layer in LAYERS.items():
        for name, child in layer(8, 8, 3).named_modules():
            if name and isinstance(child, (nn.Conv2d, nn.Linear)):
                found.append((operator, name))
    return found


children = pytest.mark.parametrize(("operator", "child"), _children())


@children
def test_a_child_in_an_adapter(operator: str, child: str) -> None:
    layer = held(operator)
    module, name = owner(layer, child)
    setattr(module, name, _Adapted(getattr(module, name)))
    assert_composed(layer)


@children
def test_a_child_with_the_other_bias(operator: str, child: str) -> None:
    layer = held(operator)
    found = layer.get_submodule(child)
    outputs = len(found.weight)
    found.bias = nn.Parameter(torch.randn(outputs)) if found.bias is None else None
    assert_composed(layer)


@children
def test_a_child_of_another_class(operator: str, child: str) -> None:
    layer = held(operator)
    module, name = owner(layer, child)
    setattr(module, name, nn.Sequential(getattr(module, name), nn.Identity()))
    assert_composed(layer)


@children
def test_a_child_of_another_geometry(operator: str, child: str) -> None:
    """A pointwise convolution that somebody pads or strides: the sizes no longer fit, or do."""
    layer = held(operator)
    found = layer.get_submodule(child)
    if not isinstance(found, nn.Conv2d):
        pytest.skip("a linear layer has no geometry")
    found.padding = (found.padding[0] + 1, found.padding[1] + 1)
    assert_composed(layer, refusable=True)
    found.padding, found.groups = (0, 0), 2
    assert_composed(layer, refusable=True)


@operators
def test_geometry_of_the_layer(operator: str) -> None:
    layer = held(operator)
    for geometry in ({"stride": (2, 2)}, {"padding": (0, 0)}, {"dilation": (2, 1)}):
        for name, value in geometry.items():
            setattr(layer, name, value)
        assert_composed(layer)
    layer.groups = 2  # the weight is that of one group
    assert_refused(layer)
    layer.weight = nn.Parameter(torch.randn(8, 4, 3, 3))
    assert_composed(layer)
