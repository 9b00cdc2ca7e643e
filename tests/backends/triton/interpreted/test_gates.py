"""The kernels that make gates, against torch's own operations in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfaconv import functional
from rfaconv.backends.triton.gates import channel as channel_gate
from rfaconv.backends.triton.gates import coordinate as line_gates
from rfaconv.backends.triton.gates import pixel as pixel_gate
from rfaconv.errors import InvalidArgument
from rfaconv.functional import CoordinateWeights, coordinate_gates
from rfaconv.functional import pixel as pixel_stage
from rfaconv.geometry import Window
from rfaconv.reference.parity import compare, require

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


class Draw:
    """Random tensors of a seed, in a dtype."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.dtype)


def check(
    found: Sequence[Tensor],
    formula: Callable[..., Sequence[Tensor]],
    *given: Any,
    names: Sequence[str] = ("first", "second"),
) -> None:
    """Results within the tolerance of float32: kernels compute in it whatever the inputs are."""
    plain = formula(*(v.float() if isinstance(v, Tensor) else v for v in given))
    oracle = formula(*(v.double() if isinstance(v, Tensor) else v for v in given))
    rows = []
    for name, one, other, exact in zip(names, found, plain, oracle, strict=False):
        assert one.dtype == torch.float32
        assert one.shape == exact.shape
        rows.append(compare(name, one, other, exact))
    require(rows)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "hidden"), [(5, 3), (67, 16), (1, 1)])
def test_channel_gate(channels: int, hidden: int, dtype: torch.dtype) -> None:
    """More channels than a tile, fewer hidden ones than a power of two."""
    draw = Draw(channels, dtype)
    x = draw(3, channels, 5, 4).to(memory_format=torch.channels_last)
    weights = draw(hidden, channels), draw(channels, hidden)
    found = channel_gate.channel_gate(x, *weights)
    check(
        found, lambda *v: (functional.squeeze_excite(*v), v[0].mean((2, 3))), x, *weights,
        names=("gate", "mean"),
    )  # fmt: skip


SPATIAL = [((2, 5, 4), 3, (3, 3)), ((1, 1, 1), 3, (3, 3)), ((1, 3, 2), 5, (3, 3))]
SPATIAL += [((2, 6, 7), 1, (3, 5)), ((1, 4, 5), 3, (1, 7))]


@pytest.mark.parametrize(("size", "kernel", "spatial"), SPATIAL, ids=str)
def test_pixel_gate(size: tuple[int, int, int], kernel: int, spatial: tuple[int, int]) -> None:
    """Reach over no, one and several windows beside; a weight with its channels last."""
    window, draw = Window.create(kernel), Draw(kernel)
    batch, height, width = size
    maps = [draw(batch, window.taps, height, width) for _ in range(2)]
    for dtype in DTYPES[:2]:
        weight = draw(1, 2, *spatial).to(dtype).to(memory_format=torch.channels_last)
        found = pixel_gate.pixel_gate(*maps, weight, window.to_ints())
        check(
            [found], lambda *v: [pixel_stage.pixel_gate(*v, window, "reference")], *maps, weight,
            names=["gate"],
        )  # fmt: skip


# the interpreter computes with NumPy, which warns of inf - inf
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
def test_nan_and_infinity() -> None:
    """A NaN spoils the taps next to it on the enlarged map, and its own channel's mean alone."""
    window, draw = Window.create(3), Draw(0)
    maps = draw(2, 1, 9, 4, 5).abs()
    maps[0, 0, 4, 2, 3] = torch.nan
    gate = pixel_gate.pixel_gate(*maps, draw(1, 2, 3, 3).abs(), window.to_ints())
    assert gate[0, :, 2, 3].isnan().all()
    assert gate.isnan().sum() == 9
    maps[0, 0, 4, 2, 3] = torch.inf
    gate = pixel_gate.pixel_gate(*maps, draw(1, 2, 3, 3).abs(), window.to_ints())
    assert (gate[0, :, 2, 3] == 1).all()
    assert gate.isfinite().all()
    x = draw(2, 5, 3, 3)
    x[1, 2, 0, 0] = torch.inf
    gate, _ = channel_gate.channel_gate(x, draw(3, 5).abs(), draw(5, 3).abs())
    assert (gate[1] == 1).all()
    assert (gate[0] < 1).all()


def coordinate(
    channels: int, hidden: int, bias: bool, affine: bool, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], CoordinateWeights, list[Tensor]]:
    """Means, both layers, and the state of a norm."""
    draw = Draw(channels + hidden, dtype)
    weights = CoordinateWeights(
        draw(hidden, channels),
        draw(hidden) if bias else None,
        [draw(channels, hidden) for _ in range(2)],
        [draw(channels) if bias else None for _ in range(2)],
    )
    norm = [draw(hidden), draw(hidden).abs() + 0.5]
    norm += [draw(hidden), draw(hidden)] if affine else []
    single = Draw(channels)
    return [single(3, channels, length) for length in (21, 5)], weights, norm


def as_dtype(value: Any, dtype: torch.dtype) -> Any:
    """Every tensor in a structure."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    if isinstance(value, CoordinateWeights):
        return CoordinateWeights(*(as_dtype(v, dtype) for v in value))
    return [as_dtype(v, dtype) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "hidden"), [(5, 3), (37, 8), (2, 40)])
def test_coordinate_gates(channels: int, hidden: int, dtype: torch.dtype) -> None:
    pooled, weights, norm = coordinate(
        channels, hidden, channels != 5, dtype == torch.float32, dtype
    )
    found = line_gates.coordinate_gates(*pooled, *weights[:2], norm, 1e-3, *weights[2:])

    def formula(kind: torch.dtype) -> tuple[Tensor, ...]:
        state = as_dtype(norm, kind)

        def normalise(hidden: Tensor) -> Tensor:
            return nn.functional.batch_norm(hidden, *state, eps=1e-3)

        return coordinate_gates(as_dtype(pooled, kind), as_dtype(weights, kind), normalise)

    plain, oracle = formula(torch.float32), formula(torch.float64)
    require([compare("gate", *each) for each in zip(found, plain, oracle, strict=True)])
    assert found[0].stride() == (21 * channels, 1, channels)


def test_bad_arguments_are_named() -> None:
    maps, ints = torch.rand(2, 2, 9, 5, 4), Window.create(3).to_ints()
    weight = torch.rand(1, 2, 3, 3)
    with pytest.raises(InvalidArgument, match="maximum"):
        pixel_gate.pixel_gate(maps[0, :, :8], maps[1], weight, ints)
    with pytest.raises(InvalidArgument, match="mean"):
        pixel_gate.pixel_gate(maps[0], maps[1, :1], weight, ints)
    with pytest.raises(InvalidArgument, match="weight"):
        pixel_gate.pixel_gate(maps[0], maps[1], weight[..., :2], ints)
