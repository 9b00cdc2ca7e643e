"""Every CPU kernel against the reference in float64: forward and each named gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfaconv.backends.cases import Case, Tensors, parity
from rfaconv.geometry import Window
from rfaconv.reference.parity import require
from rfaconv.variants import GATES

pytestmark = pytest.mark.usefixtures("cpu_library", "poisoned_memory")

STATS = ("rfcbam", "rfca")
OPS = [
    ("patch_moments", ""),
    *(("feature_stats", v) for v in STATS),
    *(("project", v) for v in GATES),
]
WINDOWS = [
    Window.create(3),
    Window.create(3, 2),
    Window.create(3, (2, 1), (0, 2), (1, 3)),
    Window((3, 3), (1, 1), ((0, 1), (2, 0)), (1, 1)),
    Window.create(5, 1, 3, 2),
    Window.create(5, 3),
    Window.create(1, 2, 0),
]


def _ids(values: list[object]) -> list[str]:
    return [str(v) if not isinstance(v, tuple) else "-".join(filter(None, v)) for v in values]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("op", "variant"), OPS, ids=_ids(OPS))
def test_windows(op: str, variant: str, window: Window, dtype: torch.dtype) -> None:
    case = Case(op, variant, channels=6, out_channels=19, size=(13, 10), window=window, dtype=dtype)
    require(parity(case))


SHAPES = [
    pytest.param(Case(batch=1, channels=1, out_channels=1, size=(1, 1)), id="one-of-everything"),
    pytest.param(Case(batch=1, channels=17, out_channels=33, size=(7, 7)), id="past-one-vector"),
    pytest.param(Case(batch=9, channels=40, out_channels=50, size=(7, 7)), id="tiles-span-images"),
    pytest.param(Case(batch=3, channels=4, out_channels=3, size=(1, 29)), id="one-row"),
    pytest.param(Case(batch=3, channels=4, out_channels=3, size=(29, 1)), id="one-column"),
    pytest.param(Case(batch=1, channels=3, out_channels=100, size=(33, 35)), id="wide-output"),
    pytest.param(Case(batch=1, channels=70, out_channels=5, size=(6, 5)), id="many-channels"),
    pytest.param(Case(batch=1, channels=8, out_channels=8, size=(61, 67)), id="large-map"),
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("op", "variant"), OPS, ids=_ids(OPS))
def test_shapes(op: str, variant: str, shape: Case, channels_last: bool) -> None:
    case = replace(shape, op=op, variant=variant, channels_last=channels_last)
    # seed 0 makes the single gradient of one-of-everything a difference of nearly equal numbers
    require(parity(case, seed=1))


SIZES = st.integers(1, 23)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    op, variant = draw(st.sampled_from(OPS))
    kernel = draw(st.sampled_from([1, 3, 5]))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    low_high = st.tuples(st.integers(0, 4), st.integers(0, 4))
    padding = (draw(low_high), draw(low_high))
    window = Window((kernel, kernel), stride, padding, dilation)
    size = tuple(
        max(draw(SIZES), extent - lo - hi, 1)
        for extent, (lo, hi) in zip(window.extent, padding, strict=True)
    )
    return Case(
        op,
        variant,
        batch=draw(st.integers(1, 4)),
        channels=draw(st.integers(1, 35)),
        out_channels=draw(st.integers(1, 35)),
        size=(size[0], size[1]),
        window=window,
        dtype=draw(st.sampled_from([torch.float32, torch.bfloat16])),
        channels_last=draw(st.booleans()),
        bias=draw(st.booleans()),
        mean=draw(st.sampled_from([0.0, 0.0, 3.0])),
    )


@settings(max_examples=120, deadline=None, derandomize=True)
@given(case=cases(), seed=st.integers(0, 1000))
def test_random_problems(case: Case, seed: int) -> None:
    require(parity(case, seed))


@pytest.mark.parametrize(("op", "variant"), OPS, ids=_ids(OPS))
def test_large_mean(op: str, variant: str) -> None:
    """Mean 100, standard deviation 1: sums of squares cancel."""
    require(parity(Case(op, variant, channels=9, out_channels=12, mean=100.0)))


@pytest.mark.parametrize("logits", [8.0, 80.0])
def test_large_logits(logits: float) -> None:
    """Attention close to one tap, both signs: exp must neither overflow nor lose the small taps."""
    require(parity(Case(variant="rfa", channels=9, out_channels=12, logits=logits)))


@pytest.mark.parametrize("seed", range(4))
def test_saturated_attention(seed: int) -> None:
    """One tap has all the attention everywhere: its gradient is tiny, not a difference of
    roundings.
    """
    window = Window((3, 3), (2, 4), ((1, 1), (4, 0)), (2, 1))
    case = Case(channels=1, out_channels=26, size=(6, 14), window=window, mean=100.0, logits=80.0)
    require(parity(case, seed))


def test_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail: a result off by 1e-5 does."""
    from rfaconv.backends import cases as module

    evaluate = module.evaluate

    def wrong(case: Case, inputs: Tensors, way: str, *, gradients: bool) -> Tensors:
        results = evaluate(case, inputs, way, gradients=gradients)
        return {n: v * (1 + 1e-5) for n, v in results.items()} if way == "fused" else results

    monkeypatch.setattr(module, "evaluate", wrong)
    rows = parity(Case())
    assert rows
    assert not any(row.passed for row in rows)
