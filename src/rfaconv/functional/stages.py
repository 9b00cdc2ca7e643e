"""The stages that the operators are made of: moments, features, statistics, projection."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv import dispatch, reference
from rfaconv.functional._checks import check_input
from rfaconv.functional._fused import gate_backend, source_of
from rfaconv.functional._precision import autocast_dtype, cast, without_autocast
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import accumulation_dtype, recorded
from rfaconv.reference.stats import convolve_enlarged, convolve_enlarged_map


class ReceptiveField(NamedTuple):
    """The receptive-field feature of an input: what it is computed from, and how.

    Attributes:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T).
        feature_bias: b' (C, T).
        window: the sliding window.
        variant: the operator that it is for.
        groups: groups of the final convolution.
        backend: the backend that runs the stages.
        values: the features (B, C, T, *out) where the backend keeps them, else None.
        link: what :func:`linked_stats` leaves for :func:`project`: the channel gate that it was
            given, and what stands for panel and gates.
    """

    x: Tensor
    feature_weight: Tensor
    feature_bias: Tensor
    window: Window
    variant: str
    groups: int
    backend: str
    values: Tensor | None
    link: list[tuple[Tensor | None, Sequence[Tensor]]]


def prepare_input(
    x: Tensor,
    channels: int,
    dtype: torch.dtype,
    window: Window,
    padding_mode: str = "zeros",
) -> Tensor:
    """Checks the input, casts it under autocast, and pads it where zeros are not wanted.

    With ``padding_mode`` other than ``"zeros"`` the stages after it take a window with no padding.

    Raises:
        InvalidArgument: if rank, channels, dtype or size do not fit.
    """
    check_input(x, channels, dtype, window)
    result = cast(x, autocast_dtype(x))
    assert result is not None
    if padding_mode == "zeros":
        return result
    amounts = [side for pair in reversed(window.padding) for side in pair]
    return F.pad(result, amounts, mode=padding_mode)


def patch_moments(x: Tensor, window: Window, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Mean ``m = E[u]`` and covariance ``S = E[u u^T] - m m^T`` of the patches of each channel.

    Args:
        x: input (B, C, *size).
        window: the sliding window.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Returns:
        m (C, T) and S (C, T, T), in float64.

    Raises:
        BackendUnavailable: if a backend other than ``auto`` cannot run this; the reason is named.

    Example:
        >>> m, s = patch_moments(torch.randn(2, 4, 7, 6), Window.create(3))
        >>> m.shape, s.shape
        (torch.Size([4, 9]), torch.Size([4, 9, 9]))

    Source: BatchNorm over receptive-field features (paper, equation 5) is linear in the patch.
    """
    with without_autocast(x):
        if select("patch_moments", "", x, window, 1, backend) == "reference":
            return reference.patch_moments(x, window)
        mean, cov = torch.ops.rfaconv.patch_moments(x, window.to_ints())
        return mean, cov


def receptive_field(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    window: Window,
    variant: str,
    groups: int = 1,
    backend: str = "auto",
) -> ReceptiveField:
    """Describes the features ``f[c] = relu(G'[c] u[c] + b'[c])`` that the next stages use.

    Args:
        x: input (B, C, *size).
        feature_weight: G' (C, T, T), BatchNorm folded in.
        feature_bias: b' (C, T).
        window: the sliding window.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``.
        groups: groups of the final convolution.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    Raises:
        BackendUnavailable: if a backend other than ``auto`` cannot run this; the reason is named.
    """
    chosen = select("project", variant, x, window, groups, backend)
    acc = accumulation_dtype(x.dtype)
    # the Triton kernels read them as they are; a cast would cost a launch for each
    if chosen != "triton" or recorded(x, feature_weight, feature_bias):
        feature_weight, feature_bias = feature_weight.to(acc), feature_bias.to(acc)
    values = None
    if chosen == "reference" and recorded(x, feature_weight):
        # the backward pass needs them anyway, so statistics and projection share one copy
        with without_autocast(x):
            values = reference.features(x, feature_weight, feature_bias, window)
    return ReceptiveField(
        x, feature_weight, feature_bias, window, variant, groups, chosen, values, []
    )


def feature_stats(field: ReceptiveField) -> tuple[Tensor, ...]:
    """Statistics of the features that the gates of RFCBAM and RFCA are made from.

    Returns:
        ``rfcbam``: maximum and mean over channels, each (B, T, *out).
        ``rfca``: one mean (B, C, k_i * out_i) per spatial dimension i of the enlarged map.

    Source: paper, section 3.3.
    """
    x, weight, bias, window, variant, *_ = field
    with without_autocast(x):
        if field.backend == "reference":
            return reference.feature_stats(
                x, weight, bias, variant, window, precomputed=field.values
            )
        first, second = torch.ops.rfaconv.feature_stats(x, weight, bias, variant, window.to_ints())
        return first, second


def linked_stats(field: ReceptiveField, channel: Tensor | None = None) -> tuple[Tensor, ...]:
    """:func:`feature_stats`, linked where they can be to the backward pass of :func:`project`.

    Args:
        field: the receptive-field feature.
        channel: of rfcbam, the channel gate that the projection will be given.
    """
    x, weight, bias, window, variant, *_ = field
    if field.backend != "triton" or not recorded(x, weight, bias) or torch.compiler.is_compiling():
        return feature_stats(field)
    linked = import_module("rfaconv.backends.triton.linked")
    if not linked.suits(x, window.to_ints()):
        return feature_stats(field)
    with without_autocast(x):
        gate = None if channel is None else channel.to(accumulation_dtype(x.dtype))
        first, second, _, *stand_ins = torch.ops.rfaconv.feature_stats_linked(
            x, weight, bias, gate, variant, window.to_ints()
        )
    field.link[:] = [(channel, stand_ins)]
    return first, second


def project(
    field: ReceptiveField, gate: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """``y = K (f * a) + bias``: features times gate, times ``K = weight.reshape(O, -1)``.

    Args:
        field: the receptive-field feature.
        gate: ``rfa``: attention weights (C, T), a = softmax over taps of ``w[c,j] * mean(u)``.
            ``rfcbam``: channel (B, C) and pixel (B, T, *out), a = their product.
            ``rfca``: one (B, C, k_i * out_i) per spatial dimension, a = their product.
            ``none``: empty, a = 1.
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.

    Returns:
        (B, O, *out).

    Source: paper, equation 5 and "adjust shape", which is this product.
    """
    x, feature_weight, feature_bias, window, variant, groups, backend, values, link = field
    weight = weight.to(x.dtype)
    bias = cast(bias, x.dtype)
    channel, linked = link.pop() if link else (None, ())
    if channel is not None and gate[0] is not channel:
        linked = ()  # the statistics would give another gate its gradient
    source = source_of(gate) if variant == "rfca" and backend == "triton" else ()
    if variant != "rfa" or feature_weight.dtype == accumulation_dtype(x.dtype):
        gate = [g.to(accumulation_dtype(x.dtype)) for g in gate]
    with without_autocast(x):
        if backend == "reference":
            return reference.project(
                x, feature_weight, feature_bias, gate, weight, bias, variant, groups, window,
                precomputed=values,
            )  # fmt: skip
        operands = [*gate, *source]
        if linked:
            result: Tensor = torch.ops.rfaconv.project_linked(
                *linked, x, feature_weight, feature_bias, operands, weight, bias, variant,
                window.to_ints(),
            )  # fmt: skip
            return result
        y: Tensor = torch.ops.rfaconv.project(
            x, feature_weight, feature_bias, operands, weight, bias, variant, groups,
            window.to_ints(),
        )  # fmt: skip
        return y


def pixel_gate(
    maximum: Tensor,
    mean: Tensor,
    spatial_weight: Tensor,
    window: Window,
    backend: str = "auto",
) -> Tensor:
    """RFCBAM's spatial gate: a 3x3 convolution over the enlarged maps, then a sigmoid.

    Args:
        maximum: maximum of the features over channels (B, T, *out).
        mean: their mean (B, T, *out).
        spatial_weight: (1, 2, *kernel), odd kernel.
        window: the sliding window of the features.
        backend: ``auto``, ``cpu`` or ``triton``, whose kernels are used where they can; else plain
            torch.

    Returns:
        (B, T, *out), entries in (0, 1).

    Source: paper, section 3.3.
    """
    chosen = gate_backend(maximum, mean, spatial_weight, backend=backend, window=window)
    if chosen:
        # the Triton kernel reads it as it is; a cast would cost a launch
        weight = spatial_weight if chosen == "triton" else spatial_weight.to(maximum.dtype)
        gate: Tensor = torch.ops.rfaconv.pixel_gate(maximum, mean, weight, window.to_ints())
        return gate
    maps = torch.stack([maximum, mean], dim=1)
    convolution = convolve_enlarged if _finite(maps) else convolve_enlarged_map
    with without_autocast(maps):
        return convolution(maps, spatial_weight.to(maps.dtype), window).sigmoid()


def _finite(maps: Tensor) -> bool:
    """Whether the maps hold no NaN or infinity, as far as it can be known without a wait."""
    if maps.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    return dispatch.plain_torch_required() or bool(maps.detach().sum().isfinite())


def select(op: str, variant: str, x: Tensor, window: Window, groups: int, backend: str) -> str:
    """The name of the backend that runs a stage on ``x``."""
    dtype = str(x.dtype).removeprefix("torch.")
    problem = Problem(op, variant, x.device.type, dtype, window, x.shape[1], groups=groups)
    return dispatch.select(problem, backend)
