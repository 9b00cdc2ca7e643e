"""The fused gates against torch's own operations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rfaconv import RFCAConv2d, RFCBAMConv2d
from rfaconv.errors import InvalidArgument
from rfaconv.functional import CoordinateWeights, coordinate_gates
from rfaconv.functional._select import select_gate
from rfaconv.functional.pixel import pixel_gate
from rfaconv.geometry import Window
from rfaconv.reference.stats import convolve_enlarged, convolve_enlarged_map

pytestmark = pytest.mark.usefixtures("cpu_library")

SIZES = [(1, 1, 1), (2, 7, 7), (3, 5, 40), (2, 17, 16), (1, 2, 33)]


def _error(found: Tensor, exact: Tensor) -> float:
    return float(((found.double() - exact) / exact.abs().clamp(min=1e-30)).abs().max())


@pytest.mark.parametrize("spatial", [(3, 3), (1, 1), (7, 5)], ids=str)
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixel_gate(size: tuple[int, int, int], kernel: int, spatial: tuple[int, int]) -> None:
    """As precise as torch, over every shape of map and kernel, at logits of any size."""
    batch, height, width = size
    window = Window.create(kernel)
    torch.manual_seed(sum(size) + kernel)
    maps = torch.randn(2, batch, window.taps, height, width).abs() * 3
    weight = torch.randn(1, 2, *spatial)
    with torch.no_grad():
        # few numbers may be equal to the last bit, so the kernel's use is asked for
        assert select_gate("pixel_gate", *maps, weight, window=window) == "cpu"
        fused = pixel_gate(maps[0], maps[1], weight, window)
        plain = pixel_gate(maps[0], maps[1], weight, window, "reference")
        exact = pixel_gate(maps[0].double(), maps[1].double(), weight.double(), window)
    assert _error(fused, exact) <= 2 * _error(plain, exact) + 1e-6


@pytest.mark.parametrize("logit", [-80.0, -20.0, -1.0, 0.0, 1e-6, 5.0, 80.0, 1e30])
def test_sigmoid_of_the_pixel_gate(logit: float) -> None:
    value = torch.full((1, 1, 1, 1), logit)
    weight = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    with torch.no_grad():
        found = pixel_gate(value, value, weight, Window.create(1))
    assert found.item() == pytest.approx(value.double().sigmoid().item(), rel=3e-7, abs=0)


def test_non_finite_maps_reach_their_neighbours() -> None:
    """A NaN spoils the taps next to it on the enlarged map and no others."""
    window = Window.create(3)
    maps = torch.rand(2, 2, 9, 6, 20)
    maps[0, 1, 4, 2, 17] = math.nan
    weight = torch.rand(1, 2, 3, 3)
    with torch.no_grad():
        gate = pixel_gate(maps[0], maps[1], weight, window)
        maps[0, 1, 4, 2, 17] = math.inf
        saturated = pixel_gate(maps[0], maps[1], weight, window)
    spoilt = gate.isnan()
    assert spoilt[1, :, 2, 17].all()  # the middle tap's neighbours are the other eight
    assert spoilt.sum() == 9
    assert (saturated[1, :, 2, 17] == 1).all()
    assert saturated.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("layer", [RFCBAMConv2d, RFCAConv2d])
def test_non_finite_inputs_spread_as_in_the_reference(layer: type, value: float) -> None:
    torch.manual_seed(0)
    fused = layer(5, 6, 3).eval()
    plain = layer(5, 6, 3, backend="reference").eval()
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(2, 5, 12, 19)
    x[1, 2, 4, 5] = value
    with torch.no_grad():
        found, expected = fused(x), plain(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(
        fused(x.requires_grad_()).detach(), expected, rtol=1e-5, atol=1e-5, equal_nan=True
    )
    assert not found[1].isfinite().all()
    assert found[0].isfinite().all()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_both_convolutions_of_the_enlarged_map(dims: int) -> None:
    """The one without the map and the one on it compute the same, in any number of dimensions."""
    kernel, out = (3, 2, 3)[:dims], (5, 4, 6)[:dims]
    window = Window.create(kernel, dims=dims)
    maps = torch.randn(2, 2, window.taps, *out, dtype=torch.float64)
    weight = torch.randn(1, 2, *(3,) * dims, dtype=torch.float64)
    torch.testing.assert_close(
        convolve_enlarged(maps, weight, window), convolve_enlarged_map(maps, weight, window)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", [1, 6, 37])
@pytest.mark.parametrize("hidden", [1, 8, 19])
def test_coordinate_gates(channels: int, hidden: int, bias: bool) -> None:
    torch.manual_seed(channels + hidden)
    pooled = [torch.randn(3, channels, length) for length in (21, 5)]

    def weights(dtype: torch.dtype) -> CoordinateWeights:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(dtype)

        return CoordinateWeights(
            draw(hidden, channels),
            draw(hidden) if bias else None,
            [draw(channels, hidden) for _ in range(2)],
            [draw(channels) if bias else None for _ in range(2)],
        )

    single, double = weights(torch.float32), weights(torch.float64)
    exact = coordinate_gates([p.double() for p in pooled], double, lambda x: x * 2)
    with torch.no_grad():
        fused = coordinate_gates(pooled, single, lambda x: x * 2)
    recorded = coordinate_gates([p.requires_grad_() for p in pooled], single, lambda x: x * 2)
    for f, p, e in zip(fused, recorded, exact, strict=True):
        assert p.requires_grad
        assert f.shape == e.shape
        assert _error(f, e) <= 2 * _error(p.detach(), e) + 1e-6


@pytest.mark.parametrize("layer", [RFCBAMConv2d, RFCAConv2d])
def test_layers_agree_with_the_reference(layer: type) -> None:
    """The whole layer, fused gates included, in every batch and at one that is empty."""
    torch.manual_seed(0)
    fused = layer(20, 9, 3, stride=2).eval()
    plain = layer(20, 9, 3, stride=2, backend="reference").eval()
    plain.load_state_dict(fused.state_dict())
    with torch.no_grad():
        for batch in (0, 1, 5):
            x = torch.randn(batch, 20, 11, 18)
            torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)


def test_operations_say_what_they_return() -> None:
    ops = torch.ops.rfaconv
    maps, weight = torch.rand(2, 2, 9, 5, 4), torch.rand(1, 2, 3, 3)
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    check = torch.library.opcheck
    check(
        ops.pixel_gate,
        (maps[0], maps[1], weight, Window.create(3).to_ints(), "cpu"),
        test_utils=tests,
    )
    first, second = torch.rand(2, 6, 15), torch.rand(2, 6, 12)
    check(ops.line_hidden, (first, second, torch.rand(8, 6), None, "cpu"), test_utils=tests)
    weights, biases = [torch.rand(6, 8), torch.rand(6, 8)], [torch.rand(6), torch.rand(6)]
    check(ops.line_gates, (torch.rand(2, 8, 27), weights, biases, 15, "cpu"), test_utils=tests)


def test_bad_arguments_are_named() -> None:
    maps = torch.rand(2, 2, 9, 5, 4)
    ints = Window.create(3).to_ints()
    with pytest.raises(InvalidArgument, match="mean"):
        torch.ops.rfaconv.pixel_gate(maps[0], maps[1, :1], torch.rand(1, 2, 3, 3), ints, "cpu")
    with pytest.raises(InvalidArgument, match="weight"):
        torch.ops.rfaconv.pixel_gate(maps[0], maps[1], torch.rand(1, 2, 2, 3), ints, "cpu")
    with pytest.raises(InvalidArgument, match="second"):
        torch.ops.rfaconv.line_hidden(
            torch.rand(2, 6, 5), torch.rand(2, 7, 5), torch.rand(8, 6), None, "cpu"
        )
    with pytest.raises(InvalidArgument, match=r"weights\[1\]"):
        torch.ops.rfaconv.line_gates(
            torch.rand(2, 8, 9), [torch.rand(6, 8), torch.rand(6, 7)], [None, None], 5, "cpu"
        )
