"""The stages that the operators are made of: moments, features, statistics, projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rfaconv import dispatch, reference
from rfaconv._torch import saved_tensors_hooked
from rfaconv.errors import InvalidArgument
from rfaconv.functional._checks import (
    check_dtype,
    check_final,
    check_input,
    check_map,
    check_operand,
    check_spatial,
)
from rfaconv.functional._precision import (
    autocast_dtype,
    cast,
    dtype_name,
    without_autocast,
)
from rfaconv.geometry import Problem, Window
from rfaconv.ops.linked import linked_project
from rfaconv.reference.features import (
    accumulation_dtype,
    convolve,
    fixed_size,
    fixed_sizes,
    recorded,
    tracing,
    unflatten,
)
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
        values: the features (B, C, T, *out) where they exist, else None.
    """

    x: Tensor
    feature_weight: Tensor
    feature_bias: Tensor
    window: Window
    variant: str
    groups: int
    backend: str
    values: Tensor | None


def prepare_input(
    x: Tensor,
    channels: int,
    dtype: torch.dtype | None,
    window: Window,
    padding_mode: str = "zeros",
) -> Tensor:
    """Checks the input, casts it under autocast, and pads it where zeros are not wanted.

    An input without a batch dimension becomes a batch of one; :func:`as_given` takes it back.

    With None for ``dtype``, that of the weight, :func:`of_weight` has to look at it.

    With ``padding_mode`` other than ``"zeros"`` the stages after it take a window with no padding.

    Raises:
        InvalidArgument: if rank, channels, dtype or size do not fit.
    """
    x = as_batch(x, window)
    check_input(x, channels, dtype, window)
    result = cast(x, autocast_dtype(x))
    assert result is not None
    if padding_mode == "zeros":
        return result
    amounts = [side for pair in reversed(window.padding) for side in pair]
    return F.pad(result, amounts, mode=padding_mode)


def of_weight(x: Tensor, weight: Tensor) -> Tensor:
    """The prepared input, after a check that its dtype is that of the final weight.

    Raises:
        InvalidArgument: if it is not, and autocast does not cast both.
    """
    check_dtype(x, weight.dtype)
    return x


def as_batch(x: Tensor, window: Window) -> Tensor:
    """The input as a batch of one where it has no batch dimension."""
    return x.unsqueeze(0) if x.dim() == window.dims + 1 else x


def as_given(y: Tensor, x: Tensor, window: Window) -> Tensor:
    """The output without a batch dimension where the input x has none."""
    return y.squeeze(0) if x.dim() == window.dims + 1 else y


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
    check_map("input", x, window)
    with without_autocast(x):
        chosen = select("patch_moments", "", x, window, 1, backend)
        if chosen == dispatch.REFERENCE:
            return reference.patch_moments(x, window)
        mean, cov = torch.ops.rfaconv.patch_moments(x, window.to_ints(), chosen)
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
    check_map("input", x, window)
    channels = fixed_size(x.shape[1])
    check_operand("feature_weight", feature_weight, x, (channels, window.taps, window.taps))
    check_operand("feature_bias", feature_bias, x, (channels, window.taps))
    chosen = select("project", variant, x, window, groups, backend)
    if chosen != dispatch.REFERENCE and variant in ("rfcbam", "rfca"):
        statistics = select("feature_stats", variant, x, window, groups, backend)
        if statistics != chosen:  # one backend runs both
            both = select_named("project", variant, x, window, groups, statistics)
            chosen = statistics if both else dispatch.REFERENCE
    values = None
    if chosen == dispatch.REFERENCE:
        acc = accumulation_dtype(x.dtype)
        feature_weight, feature_bias = feature_weight.to(acc), feature_bias.to(acc)
        if recorded(x, feature_weight):
            # the backward pass needs them anyway, so statistics and projection share one copy
            with without_autocast(x):
                values = reference.features(x, feature_weight, feature_bias, window)
    return ReceptiveField(x, feature_weight, feature_bias, window, variant, groups, chosen, values)


def linear_features(
    x: Tensor, feature_weight: Tensor, window: Window, offset: Tensor | None = None
) -> Tensor:
    """``G[c] u[c] + offset`` of every patch as a map (B, C * T, *out), for a norm to be called."""
    channels = fixed_size(x.shape[1])
    width = channels * window.taps
    check_operand("feature_weight", feature_weight, x, (width, 1, *window.kernel))
    if offset is not None:
        check_operand("feature_bias", offset, x, (width,))
    return convolve(x, feature_weight.to(x.dtype), cast(offset, x.dtype), window, channels)


def measured_field(
    x: Tensor, normed: Tensor, window: Window, variant: str, groups: int = 1
) -> ReceptiveField:
    """The receptive-field feature from what a norm made of :func:`linear_features`.

    Args:
        x: input (B, C, *size).
        normed: (B, C * T, *out).
        window: the sliding window.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``.
        groups: groups of the final convolution.
    """
    batch, channels, *size = fixed_sizes(x.shape)
    shape = (batch, channels * window.taps, *window.output_size(size))
    check_operand("feature_norm", normed, x, None if tracing() else shape)
    normed = normed.to(accumulation_dtype(x.dtype))
    values = unflatten(normed.relu(), 1, (fixed_size(x.shape[1]), window.taps))
    nothing = values.new_empty(0)
    return ReceptiveField(x, nothing, nothing, window, variant, groups, dispatch.REFERENCE, values)


def feature_stats(field: ReceptiveField) -> tuple[Tensor, ...]:
    """Statistics of the features that the gates of RFCBAM and RFCA are made from.

    Returns:
        ``rfcbam``: maximum and mean over channels, each (B, T, *out).
        ``rfca``: one mean (B, C, k_i * out_i) per spatial dimension i of the enlarged map.

    Source: paper, section 3.3.
    """
    x, weight, bias, window, variant, *_ = field
    with without_autocast(x):
        if field.backend == dispatch.REFERENCE:
            return reference.feature_stats(
                x, weight, bias, variant, window, precomputed=field.values
            )
        first, second = torch.ops.rfaconv.feature_stats(
            x, weight, bias, variant, window.to_ints(), field.backend
        )
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
    x, feature_weight, feature_bias, window, variant, groups, backend, values = field
    check_final(weight, bias, x, window, groups)
    _check_gate(gate, x, window, variant)
    weight, bias = weight.to(x.dtype), cast(bias, x.dtype)
    acc = accumulation_dtype(x.dtype)
    with without_autocast(x):
        if backend == dispatch.REFERENCE:
            return reference.project(
                x, feature_weight, feature_bias, [g.to(acc) for g in gate], weight, bias, variant,
                groups, window, precomputed=values,
            )  # fmt: skip
        operands = [g if g.dtype == x.dtype else g.to(acc) for g in gate]
        if _links(field):
            linked = linked_project(
                x, feature_weight, feature_bias, operands, weight, bias, variant,
                window.to_ints(), backend,
            )  # fmt: skip
            if linked is not None:
                return linked
        y: Tensor = torch.ops.rfaconv.project(
            x, feature_weight, feature_bias, operands, weight, bias, variant, groups,
            window.to_ints(), backend,
        )  # fmt: skip
        return y


def _links(field: ReceptiveField) -> bool:
    """Whether the backend can join the backward passes of statistics and projection."""
    x, weight, bias, window, variant, groups, backend, _ = field
    if torch.compiler.is_compiling() or variant not in ("rfcbam", "rfca"):
        return False
    # a checkpoint wants the same tensors saved in the same order when it runs the layer again
    if not recorded(x, weight, bias) or saved_tensors_hooked():
        return False
    op = "feature_stats_linked_backward"
    dtype = dtype_name(x.dtype)
    problem = Problem(op, variant, x.device.type, dtype, window, x.shape[1], groups=groups)
    return dispatch.select(problem, backend, required=False) != dispatch.REFERENCE


def _check_gate(gate: Sequence[Tensor], x: Tensor, window: Window, variant: str) -> None:
    # sizes are left open; there the ops check what they are given
    if tracing() or torch.compiler.is_compiling():
        return
    batch, channels, *size = x.shape
    out, taps = window.output_size(size), window.taps
    rows: list[tuple[int, ...]] = [
        (batch, channels, k * n) for k, n in zip(window.kernel, out, strict=True)
    ]
    shapes: dict[str, list[tuple[int, ...]]] = {
        "rfa": [(channels, taps)],
        "rfcbam": [(batch, channels), (batch, taps, *out)],
        "rfca": rows,
        "none": [],
    }
    if len(gate) != len(shapes[variant]):
        raise InvalidArgument("gate", f"{len(shapes[variant])} tensors", f"{len(gate)}")
    for tensor, shape in zip(gate, shapes[variant], strict=True):
        check_operand("gate", tensor, x, shape)


def matched(argument: str, weight: Tensor, x: Tensor) -> Tensor:
    """The weight, after a check that device and dtype are those of the map."""
    check_operand(argument, weight, x)
    return weight


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
        backend: ``auto`` or the name of one, whose kernel is used if it has one; else plain torch.

    Returns:
        (B, T, *out), entries in (0, 1).

    Source: paper, section 3.3.
    """
    check_map("maximum", maximum, window)
    shape = None if tracing() else (maximum.shape[0], window.taps, *maximum.shape[2:])
    check_operand("maximum", maximum, maximum, shape)
    check_operand("mean", mean, maximum, shape)
    check_spatial(spatial_weight, maximum, window.dims)
    chosen = select_gate("pixel_gate", maximum, mean, spatial_weight, window=window, name=backend)
    if chosen != dispatch.REFERENCE:
        gate: Tensor = torch.ops.rfaconv.pixel_gate(
            maximum, mean, spatial_weight, window.to_ints(), chosen
        )
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
    dtype = dtype_name(x.dtype)
    problem = Problem(op, variant, x.device.type, dtype, window, x.shape[1], groups=groups)
    return dispatch.select(problem, backend)


def select_named(
    op: str, variant: str, x: Tensor, window: Window, groups: int, backend: str
) -> bool:
    """Whether this backend runs the stage."""
    problem = Problem(
        op, variant, x.device.type, dtype_name(x.dtype), window, x.shape[1], groups=groups
    )
    return dispatch.select(problem, backend, required=False) == backend


_POINT = Window.create(1)


def select_gate(
    op: str, *tensors: Tensor, name: str = "auto", window: Window = _POINT, hidden: int = 1
) -> str:
    """The backend whose kernel makes a gate from these tensors; the reference for plain torch.

    Args:
        op: the op that makes the gate.
        *tensors: what it is made from; the first decides on device and dtype.
        name: the backend that the user named, which need not have the op.
        window: the sliding window of the features.
        hidden: channels between the layers of the gate.
    """
    device, dtype = tensors[0].device.type, dtype_name(tensors[0].dtype)
    problem = Problem(op, "", device, dtype, window, hidden, recorded=recorded(*tensors))
    return dispatch.select(problem, name, required=False)
