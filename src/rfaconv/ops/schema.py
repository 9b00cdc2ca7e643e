"""What each operation is: its schema, and right under it the shapes, dtypes and strides of what it
returns.

Every window argument is one ``int[]`` in the order of :meth:`rfaconv.geometry.Window.to_ints`:
``[kh, kw, sh, sw, pad_top, pad_bottom, pad_left, pad_right, dh, dw]``. Padding is with zeros. The
last argument of every op is the name of the backend whose kernel runs.

Dtypes: ``x``, ``weight``, ``bias`` and ``y`` share one; statistics are in the accumulation dtype
(float64 for float64, else float32); feature parameters and gates are in either of the two, and
their gradients likewise; moments are always float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from rfaconv.geometry import Window
from rfaconv.reference.features import accumulation_dtype

__all__ = [
    "CHANNELS_ADJACENT",
    "DEFINITIONS",
    "check_features",
    "define",
    "fake",
    "like",
    "lines",
    "memory_format_of",
    "stats_shapes",
    "weight_like",
]

Function = TypeVar("Function", bound=Callable[..., Any])

CHANNELS_ADJACENT: set[str] = set()
"""Backends whose lines (B, C, L) and gradients of K have their channels next to each other."""

_FEATURES = "Tensor x, Tensor feature_weight, Tensor feature_bias"

DEFINITIONS: dict[str, str] = {
    "patch_moments": "(Tensor x, int[] window, str backend) -> (Tensor mean, Tensor cov)",
    "patch_moments_backward": (
        "(Tensor dmean, Tensor dcov, Tensor x, Tensor mean, int[] window, str backend) -> Tensor dx"
    ),
    "feature_stats": (
        f"({_FEATURES}, str variant, int[] window, str backend) -> (Tensor s0, Tensor s1)"
    ),
    # s0 is read for rfcbam alone, where it is the maximum; else it may come empty
    "feature_stats_backward": (
        f"(Tensor d0, Tensor d1, {_FEATURES}, Tensor s0, str variant, int[] window, "
        "str backend) -> (Tensor dx, Tensor dfeature_weight, Tensor dfeature_bias)"
    ),
    "project": (
        f"({_FEATURES}, Tensor[] gate, Tensor weight, Tensor? bias, str variant, int groups, "
        "int[] window, str backend) -> Tensor y"
    ),
    # needs: which of the five results to compute; the others come back empty
    "project_backward": (
        f"(Tensor dy, {_FEATURES}, Tensor[] gate, Tensor weight, str variant, int groups, "
        "int[] window, bool[] needs, str backend) -> (Tensor dx, Tensor dfeature_weight, "
        "Tensor dfeature_bias, Tensor dweight, Tensor[] dgate)"
    ),
}


def _tags() -> tuple[torch.Tag, ...]:
    """The outputs' layout follows from the strides of ``x``, so a compiler must not change
    those.
    """
    exact = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
    return (torch.Tag.pt2_compliant_tag, exact)


def define(definitions: Mapping[str, str]) -> None:
    """Defines ops by name and schema."""
    for name, schema in definitions.items():
        torch.library.define(f"rfaconv::{name}", schema, tags=_tags())


define(DEFINITIONS)


def memory_format_of(x: Tensor) -> torch.memory_format:
    """The memory format of ``y`` and ``dx``: channels_last if the channels of ``x`` lie next to
    each other.

    A slice of a channels_last tensor counts as channels_last; what is contiguous in both senses is
    contiguous.

    Example:
        >>> memory_format_of(torch.empty(2, 4, 3, 3).to(memory_format=torch.channels_last))
        torch.channels_last
    """
    if x.is_contiguous() or x.size(1) <= 1 or x.stride(1) != 1:
        return torch.contiguous_format
    return torch.channels_last


def stats_shapes(
    x: Tensor, variant: str, window: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the two results of ``feature_stats``: per pixel (rfcbam) or per row and column
    (rfca).

    Example:
        >>> stats_shapes(torch.empty(2, 4, 5, 6), "rfca", [3, 3, 1, 1, 1, 1, 1, 1, 1, 1])
        ((2, 4, 15), (2, 4, 18))
    """
    win = Window.from_ints(window)
    height, width = win.output_size((x.size(2), x.size(3)))
    kh, kw = win.kernel
    if variant == "rfcbam":
        pixel = (x.size(0), kh * kw, height, width)
        return pixel, pixel
    torch._check(
        variant == "rfca", lambda: f"variant: expected 'rfcbam' or 'rfca', got {variant!r}"
    )
    return (x.size(0), x.size(1), kh * height), (x.size(0), x.size(1), kw * width)


def _taps(window: Sequence[int]) -> int:
    return window[0] * window[1]


def _check_map(x: Tensor, name: str = "x") -> None:
    torch._check(x.dim() == 4, lambda: f"{name}: expected (B, C, H, W), got shape {tuple(x.shape)}")


def check_features(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Sequence[int]
) -> None:
    """Checks shapes and dtypes of what the features are made from."""
    _check_map(x)
    taps, dtypes = _taps(window), (x.dtype, accumulation_dtype(x.dtype))
    for name, value, shape in (
        ("feature_weight", feature_weight, (x.size(1), taps, taps)),
        ("feature_bias", feature_bias, (x.size(1), taps)),
    ):
        _check_operand(name, value, shape, dtypes)


def _check_operand(
    name: str, value: Tensor, shape: tuple[int, ...], dtypes: Sequence[torch.dtype]
) -> None:
    torch._check(
        value.shape == shape, lambda: f"{name}: expected shape {shape}, got {tuple(value.shape)}"
    )
    torch._check(
        value.dtype in dtypes, lambda: f"{name}: expected one of {dtypes}, got {value.dtype}"
    )


def like(x: Tensor) -> Tensor:
    """A map of the shape, dtype and memory format of x."""
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))


def lines(
    like: Tensor, shape: Sequence[int], backend: str, dtype: torch.dtype | None = None
) -> Tensor:
    """One number per channel and line, (B, C, L)."""
    batch, channels, length = shape
    if backend not in CHANNELS_ADJACENT:
        return like.new_empty((batch, channels, length), dtype=dtype)
    return like.new_empty((batch, length, channels), dtype=dtype).transpose(1, 2)


def weight_like(weight: Tensor, backend: str) -> Tensor:
    """A gradient of K: in its memory format where nothing would be transposed on the way."""
    return like(weight) if backend in CHANNELS_ADJACENT else weight.new_empty(weight.shape)


def _nothing(x: Tensor) -> Tensor:
    return x.new_empty((0,))


def fake(name: str) -> Callable[[Function], Function]:
    """Registers the shapes, dtypes and strides of an op's results."""
    register: Callable[[Function], Function] = torch.library.register_fake(f"rfaconv::{name}")
    return register


@fake("patch_moments")
def _patch_moments(x: Tensor, window: Sequence[int], backend: str) -> tuple[Tensor, Tensor]:
    _check_map(x)
    taps = _taps(window)
    mean = x.new_empty((x.size(1), taps), dtype=torch.float64)
    return mean, x.new_empty((x.size(1), taps, taps), dtype=torch.float64)


@fake("patch_moments_backward")
def _patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int], backend: str
) -> Tensor:
    _check_map(x)
    return like(x)


@fake("feature_stats")
def _feature_stats(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    variant: str,
    window: Sequence[int],
    backend: str,
) -> tuple[Tensor, Tensor]:
    check_features(x, feature_weight, feature_bias, window)
    first, second = stats_shapes(x, variant, window)
    acc = accumulation_dtype(x.dtype)
    if variant == "rfca":
        return lines(x, first, backend, acc), lines(x, second, backend, acc)
    return x.new_empty(first, dtype=acc), x.new_empty(second, dtype=acc)


@fake("feature_stats_backward")
def _feature_stats_backward(
    d0: Tensor,
    d1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    variant: str,
    window: Sequence[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    check_features(x, feature_weight, feature_bias, window)
    return (
        like(x),
        feature_weight.new_empty(feature_weight.shape),
        feature_bias.new_empty(feature_bias.shape),
    )


@fake("project")
def _project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
    backend: str,
) -> Tensor:
    check_features(x, feature_weight, feature_bias, window)
    torch._check(
        weight.dim() == 4,
        lambda: f"weight: expected (O, C/groups, kh, kw), got {tuple(weight.shape)}",
    )
    torch._check(
        weight.dtype == x.dtype,
        lambda: f"weight: expected the dtype of x, {x.dtype}, got {weight.dtype}",
    )
    height, width = Window.from_ints(window).output_size((x.size(2), x.size(3)))
    size = (x.size(0), weight.size(0), height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))


@fake("project_backward")
def _project_backward(
    dy: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    variant: str,
    groups: int,
    window: Sequence[int],
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    check_features(x, feature_weight, feature_bias, window)
    torch._check(len(needs) == 5, lambda: f"needs: expected five flags, got {len(needs)}")
    return (
        like(x) if needs[0] else _nothing(x),
        feature_weight.new_empty(feature_weight.shape) if needs[1] else _nothing(feature_weight),
        feature_bias.new_empty(feature_bias.shape) if needs[2] else _nothing(feature_bias),
        weight_like(weight, backend) if needs[3] else _nothing(weight),
        [
            _nothing(g)
            if not needs[4]
            else lines(g, g.shape, backend)
            if variant == "rfca"
            else g.new_empty(g.shape)
            for g in gate
        ],
    )
