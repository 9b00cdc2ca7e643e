"""Every tensor argument of every public function: what does not fit raises, on every backend."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rfaconv import functional
from rfaconv.backends.cpu import library
from rfaconv.functional import BatchNormState, CoordinateWeights, operators
from rfaconv.functional.field import feature_stats
from rfaconv.functional.pixel import pixel_gate
from rfaconv.functional.projection import project
from rfaconv.geometry import Window

B, C, OUT, T, H, W = 2, 4, 6, 9, 7, 5
WINDOW = Window.create(3)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


FINAL = {"x": (B, C, H, W), "weight": (OUT, C, 3, 3), "bias": (OUT,)}
FEATURES = {"feature_weight": (C, T, T), "feature_bias": (C, T)}
STATISTICS = {"maximum": (B, T, H, W), "mean": (B, T, H, W)}
COORDINATES = {
    "first": (B, C, 3 * H),
    "second": (B, C, 3 * W),
    "reduce_weight": (8, C),
    "reduce_bias": (8,),
    "expand_first": (C, 8),
    "expand_second": (C, 8),
    "bias_first": (C,),
    "bias_second": (C,),
}


def _rfca(tensors: dict[str, Tensor], backend: str) -> Tensor:
    tensors = dict(tensors)
    row, column = tensors.pop("row"), tensors.pop("column")
    return functional.rfca_conv(**tensors, gates=lambda means: (row, column), backend=backend)


def _ca(tensors: dict[str, Tensor], backend: str) -> Tensor:
    tensors = dict(tensors)
    row, column = tensors.pop("row"), tensors.pop("column")
    return functional.ca_conv(**tensors, gates=lambda means: (row, column))


def _coordinate(tensors: dict[str, Tensor], backend: str) -> Tensor:
    t = tensors
    weights = CoordinateWeights(
        t["reduce_weight"],
        t["reduce_bias"],
        [t["expand_first"], t["expand_second"]],
        [t["bias_first"], t["bias_second"]],
    )
    return functional.coordinate_gates([t["first"], t["second"]], weights, torch.nn.Identity())[0]


def _fold(tensors: dict[str, Tensor], backend: str, batch: bool) -> Tensor:
    norm = BatchNormState(
        tensors["gamma"],
        tensors["beta"],
        tensors["running_mean"].detach(),
        tensors["running_var"].detach(),
        torch.tensor(0),
        0.1,
        1e-5,
        batch,
    )
    return functional.fold_features(tensors["x"], tensors["feature_weight"], norm, WINDOW, backend)[
        0
    ]


def _stage(variant: str, gates: int) -> Callable[[dict[str, Tensor], str], Tensor]:
    def run(tensors: dict[str, Tensor], backend: str) -> Tensor:
        t = tensors
        features = t["feature_weight"], t["feature_bias"]
        field = operators._field(
            t["x"], t["weight"], t["bias"], *features, variant, 1, None, 1, 1, backend
        )
        if variant in ("rfcbam", "rfca"):
            feature_stats(field)
        gate = [t[f"gate{i}"] for i in range(gates)]
        return project(field, gate, t["weight"], t["bias"])

    return run


NORM = {"gamma": (C * T,), "beta": (C * T,), "running_mean": (C * T,), "running_var": (C * T,)}
# name -> the function of tensors, and their shapes
CASES: dict[str, tuple[Callable[[dict[str, Tensor], str], Tensor], dict[str, tuple[int, ...]]]] = {
    "rfa_conv": (
        lambda t, backend: functional.rfa_conv(**t, backend=backend),
        {**FINAL, **FEATURES, "attention_weight": (C, T)},
    ),
    "rfcbam_conv": (
        lambda t, backend: functional.rfcbam_conv(**t, backend=backend),
        {**FINAL, **FEATURES, "channel_gate": (B, C), "spatial_weight": (1, 2, 3, 3)},
    ),
    "rfca_conv": (_rfca, {**FINAL, **FEATURES, "row": (B, C, 3 * H), "column": (B, C, 3 * W)}),
    "unfold_rfa_conv": (
        lambda t, backend: functional.unfold_rfa_conv(**t),
        {**FINAL, "attention_weight": (C, T, T), "attention_bias": (C, T)},
    ),
    "cam_conv": (
        lambda t, backend: functional.cam_conv(**t),
        {**FINAL, "reduce_weight": (3, C), "expand_weight": (C, 3)},
    ),
    "cbam_conv": (
        lambda t, backend: functional.cbam_conv(**t),
        {
            **FINAL,
            "reduce_weight": (3, C),
            "expand_weight": (C, 3),
            "spatial_weight": (1, 2, 7, 7),
        },
    ),
    "ca_conv": (_ca, {**FINAL, "row": (B, C, H), "column": (B, C, W)}),
    "squeeze_excite": (
        lambda t, backend: functional.squeeze_excite(**t, backend=backend),
        {"x": (B, C, H, W), "reduce_weight": (16, C), "expand_weight": (C, 16)},
    ),
    "coordinate_gates": (_coordinate, COORDINATES),
    "pixel_gate": (
        lambda t, backend: pixel_gate(**t, window=WINDOW, backend=backend),
        {**STATISTICS, "spatial_weight": (1, 2, 3, 3)},
    ),
    "fold_features of running statistics": (
        lambda t, backend: _fold(t, backend, False),
        {"x": (B, C, H, W), "feature_weight": (C * T, 1, 3, 3), **NORM},
    ),
    "fold_features of the batch": (
        lambda t, backend: _fold(t, backend, True),
        {"x": (B, C, H, W), "feature_weight": (C * T, 1, 3, 3), **NORM},
    ),
    "project for rfa": (_stage("rfa", 1), {**FINAL, **FEATURES, "gate0": (C, T)}),
    "project for rfcbam": (
        _stage("rfcbam", 2),
        {**FINAL, **FEATURES, "gate0": (B, C), "gate1": (B, T, H, W)},
    ),
    "project for rfca": (
        _stage("rfca", 2),
        {**FINAL, **FEATURES, "gate0": (B, C, 3 * H), "gate1": (B, C, 3 * W)},
    ),
    "project without a gate": (_stage("none", 0), {**FINAL, **FEATURES}),
}
# a convolution takes weights of any number of outputs, a layer of any hidden width, an image
# of any size and a batch of any length: where such a tensor is alone in it, it fits
FREE = {
    *((name, "x", i) for name in ("squeeze_excite", "fold_features of running statistics",
      "fold_features of the batch", "rfa_conv", "unfold_rfa_conv", "cam_conv", "cbam_conv",
      "project for rfa", "project without a gate") for i in (0, 2, 3)),
    *(("rfcbam_conv", "x", i) for i in (2, 3)),
    *((name, "weight", i) for name in ("cam_conv", "cbam_conv", "ca_conv") for i in (2, 3)),
    *(("coordinate_gates", name, 2) for name in ("first", "second")),
}  # fmt: skip
needs_library = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))
CHOICE = {name for name in CASES if name.split()[0] not in
          ("unfold_rfa_conv", "cam_conv", "cbam_conv", "ca_conv", "coordinate_gates")}  # fmt: skip
cases = pytest.mark.parametrize(
    ("case", "backend"),
    [(case, "reference") for case in CASES]
    + [pytest.param(case, "cpu", marks=needs_library) for case in CASES if case in CHOICE],
)
modes = pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])


def _tensors(case: str, training: bool) -> dict[str, Tensor]:
    tensors = {name: _random(*shape) for name, shape in CASES[case][1].items()}
    if "running_var" in tensors:
        tensors["running_var"].abs_()
    return {name: t.requires_grad_(training) for name, t in tensors.items()}


def _taken(
    case: str, backend: str, training: bool, spoil: Callable[[Tensor], list[Tensor]]
) -> list[str]:
    """The arguments that are taken although each was spoilt."""
    taken = []
    for argument in CASES[case][1]:
        for wrong in spoil(_tensors(case, training)[argument].detach()):
            tensors = _tensors(case, training)
            if wrong.is_floating_point():
                wrong.requires_grad_(training)
            tensors[argument] = wrong
            text = f"{argument}: {tuple(wrong.shape)} {wrong.dtype} {wrong.device}"
            try:
                with torch.set_grad_enabled(training):
                    CASES[case][0](tensors, backend)
            except (ValueError, RuntimeError):
                continue
            except Exception as error:
                text += f" ({error!r})"
            taken.append(text)
    return taken


@modes
@cases
def test_what_fits_is_taken(case: str, backend: str, training: bool) -> None:
    with torch.set_grad_enabled(training):
        y = CASES[case][0](_tensors(case, training), backend)
    assert y.isfinite().all()


def _other_sizes(t: Tensor) -> list[Tensor]:
    changes = itertools.product(range(t.dim()), (-1, 1))
    return [_random(*(n + by * (i == axis) for i, n in enumerate(t.shape))) for axis, by in changes]


@modes
@cases
def test_sizes(case: str, backend: str, training: bool) -> None:
    fit = []
    for free, argument, axis in FREE:
        shape = CASES[case][1].get(argument) if free == case else None
        for by in (-1, 1) if shape else ():
            assert shape is not None
            fit.append(f"{argument}: {tuple(n + by * (i == axis) for i, n in enumerate(shape))} ")
    taken = _taken(case, backend, training, _other_sizes)
    assert not [text for text in taken if not text.startswith(tuple(fit))]


# an image without a batch, a map of any number of sizes, a matrix as a convolution's weight
RANKS = {
    # no batch dimension: a batch of one, where the gates have none that could differ
    *((name, "x", 3) for name in ("rfa_conv", "unfold_rfa_conv", "cam_conv", "cbam_conv")),
    *((name, "x", 3) for name in ("project for rfa", "project without a gate")),
    *(("squeeze_excite", "x", rank) for rank in (3, 5)),
}


@modes
@cases
def test_ranks(case: str, backend: str, training: bool) -> None:
    taken = _taken(
        case, backend, training, lambda t: [t[0].clone(), t[None, None].clone(), t[..., None]]
    )
    fit = {f"{argument}:" for name, argument, _ in RANKS if name == case}
    assert not [text for text in taken if text.split()[0] not in fit]


@cases
def test_dtypes(case: str, backend: str) -> None:
    dtypes = (torch.int64, torch.bool, torch.complex64)
    assert not _taken(case, backend, False, lambda t: [t.to(dtype) for dtype in dtypes])


@modes
@cases
def test_precisions(case: str, backend: str, training: bool) -> None:
    """Another floating point dtype raises, or is what it would be in the right one."""
    for argument, dtype in itertools.product(CASES[case][1], (torch.float64, torch.bfloat16)):
        right, wrong = _tensors(case, training), _tensors(case, training)
        rounded = right[argument].detach().to(dtype)
        right[argument] = rounded.float().requires_grad_(training)
        wrong[argument] = rounded.requires_grad_(training)
        with torch.set_grad_enabled(training):
            try:
                y = CASES[case][0](wrong, backend)
            except (ValueError, RuntimeError):
                continue
            expected = CASES[case][0](right, backend)
        deviation, scale = (y.double() - expected.double()).abs().max(), expected.abs().max()
        assert deviation <= 0.05 * scale, f"{argument} {dtype}"


@modes
@cases
def test_devices(case: str, backend: str, training: bool) -> None:
    assert not _taken(case, backend, training, lambda t: [t.to("meta")])


def _freed(t: Tensor) -> list[Tensor]:
    t = t.clone()
    t.untyped_storage().resize_(0)
    return [t]


@modes
@cases
def test_memory_that_was_freed(case: str, backend: str, training: bool) -> None:
    assert not _taken(case, backend, training, _freed)


@cases
def test_layouts(case: str, backend: str) -> None:
    """Strides, lazy negation and offsets change nothing."""
    run = CASES[case][0]
    tensors = _tensors(case, False)
    expected = run(tensors, backend)
    for argument, values in tensors.items():
        order = range(values.dim())[::-1]
        for other in (
            torch._neg_view(-values),
            values.permute(*order).contiguous().permute(*order),
            torch.cat([values.new_full((1,), torch.nan), values.flatten()])[1:].view(values.shape),
        ):
            found = run({**tensors, argument: other}, backend)
            torch.testing.assert_close(found, expected, msg=argument)
