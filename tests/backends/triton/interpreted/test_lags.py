"""Moments by the lags of their taps, and their gradient as a filter: borders, strips, layouts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from interpreted.kernels import fused, layout, parity

from rfaconv.backends.cases import Case, draw, evaluate
from rfaconv.backends.triton import configs, lags, moments
from rfaconv.backends.triton.operands import Geometry
from rfaconv.geometry import Window
from rfaconv.reference.parity import compare, require

BASE = Case(op="patch_moments", batch=2, channels=5, size=(5, 7))
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


@pytest.fixture
def only_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the kernels of this file may run."""
    for name in ("_walk", "_all_taps", "_walk_backward"):
        monkeypatch.delattr(moments, name)


@pytest.mark.usefixtures("only_lags")
@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("size", [(3, 3), (3, 4), (4, 3), (4, 4), (5, 7), (7, 7), (17, 9)], ids=str)
def test_sizes(size: tuple[int, int], mean: float) -> None:
    """Of three rows the first two and the last two share one, of four none."""
    require(parity(replace(BASE, size=size, mean=mean)))


@pytest.mark.usefixtures("only_lags")
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
def test_dtypes(dtype: torch.dtype, last: bool) -> None:
    case = replace(BASE, dtype=dtype, channels_last=last, size=(4, 6), mean=3.0)
    require(parity(case))
    want = torch.channels_last if last else torch.contiguous_format
    assert layout(fused(case, draw(case))["dx"]) == want


@pytest.mark.usefixtures("only_lags")
@pytest.mark.parametrize("size", [(7, 60), (3, 130), (60, 3)], ids=str)
def test_strips(size: tuple[int, int]) -> None:
    """Wide maps take several programs for few rows, of which the last may have fewer to do."""
    config = configs.lag_sums(2, size)
    assert config.rows * size[1] <= lags.LONGEST
    assert size[0] > config.rows
    require(parity(replace(BASE, channels=2, batch=1, size=size, mean=10.0)))


def test_lines_too_long_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments take the other kernels, the gradient does not."""
    monkeypatch.setattr(moments, "LONGEST", 8)
    monkeypatch.delattr(moments, "moments_by_lags")
    monkeypatch.delattr(moments, "_walk_backward")
    for size in ((3, 9), (9, 3)):
        require(parity(replace(BASE, channels=2, batch=1, size=size)))


@pytest.mark.usefixtures("only_lags")
def test_many_channels_and_images() -> None:
    """Two programs for the channels, and two for each border, of which the last has one image."""
    case = replace(BASE, channels=70, batch=4, size=(4, 12), channels_last=True)
    assert configs.lag_sums(case.channels, case.size).images == 3
    require(parity(case))


@pytest.mark.usefixtures("only_lags")
def test_one_channel_of_one_image() -> None:
    require(parity(replace(BASE, channels=1, batch=1)))


@pytest.mark.usefixtures("only_lags")
def test_wide_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """64-bit offsets give what 32-bit offsets give."""
    case = replace(BASE, size=(4, 5))
    inputs = draw(case)
    want = fused(case, inputs)
    of = Geometry.of
    monkeypatch.setattr(Geometry, "of", staticmethod(lambda *a: replace(of(*a), wide=True)))
    for name, value in fused(case, inputs).items():
        assert torch.equal(value, want[name]), name


@pytest.mark.usefixtures("only_lags")
def test_slices_without_copies() -> None:
    """A slice of a larger map by its strides; nothing outside of it is read into the result."""
    case = replace(BASE, size=(4, 4))
    inputs = draw(case)
    larger = torch.full((2, 7, 6, 8), torch.nan)
    larger[:, 1:6, 1:5, ::2] = inputs["x"].float()
    x, window = larger[:, 1:6, 1:5, ::2], case.window.to_ints()
    mean, cov = moments.patch_moments(x, window)
    dx = moments.patch_moments_backward(inputs["d.mean"], inputs["d.cov"], x, mean, window)
    got = {"mean": mean, "cov": cov, "dx": dx}
    plain, oracle = (evaluate(case, inputs, way) for way in ("plain", "oracle"))
    require([compare(n, v, plain[n], oracle[n], dtype=torch.float32) for n, v in got.items()])


@pytest.mark.usefixtures("only_lags")
@pytest.mark.parametrize("tap", range(9))
def test_gradient_of_one_tap(tap: int) -> None:
    """Each tap's mean and products alone: a wrong corner would hide among many numbers."""
    case = replace(BASE, channels=1, batch=1, size=(4, 5), mean=2.0)
    inputs = draw(case)
    others = torch.arange(9) != tap
    inputs["d.mean"][:, others] = 0.0
    inputs["d.cov"][:, others] = 0.0
    got = fused(case, inputs)["dx"]
    plain, oracle = (evaluate(case, inputs, way)["dx"] for way in ("plain", "oracle"))
    require([compare("dx", got, plain, oracle)])


OTHERS = {
    "stride": Window.create(3, (2, 1)),
    "dilation": Window.create(3, dilation=(2, 1)),
    "no padding": Window.create(3, 1, 0),
    "one side": Window((3, 3), (1, 1), ((1, 1), (0, 2)), (1, 1)),
    "one tap": Window.create(1),
    "five": Window.create(5),
}


@pytest.mark.parametrize("window", OTHERS.values(), ids=list(OTHERS))
def test_other_windows(window: Window) -> None:
    assert not lags.lags(Geometry.of(torch.zeros(1, 1, 8, 8), window.to_ints()))


@pytest.mark.parametrize("size", [(2, 8), (8, 1)], ids=str)
def test_small_maps(size: tuple[int, int]) -> None:
    """Maps whose borders meet within a window take the kernels of other windows."""
    case = replace(BASE, size=size)
    assert not lags.lags(Geometry.of(torch.zeros(1, 1, *size), case.window.to_ints()))
    require(parity(case))
