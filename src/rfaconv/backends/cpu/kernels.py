"""The CPU kernels of the operations: checks every operand, allocates results, calls the C
library.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.operands import (
    check_status,
    dense,
    feature_operands,
    gate_operands,
    gate_struct,
    kind_of,
    new_map,
    plain,
    pointer,
    same_dtype,
    strided,
    vector,
    window_struct,
)  # fmt: skip
from rfaconv.errors import InvalidArgument
from rfaconv.ops.schema import stats_shapes

__all__ = [
    "feature_stats", "feature_stats_backward", "patch_moments", "patch_moments_backward",
    "project", "project_backward",
]  # fmt: skip


def patch_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The kernel of ``patch_moments``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    taps = window[0] * window[1]
    mean = torch.empty((x.size(1), taps), dtype=torch.float64)
    cov = torch.empty((x.size(1), taps, taps), dtype=torch.float64)
    if x.size(0) == 0:
        return mean.fill_(torch.nan), cov.fill_(torch.nan)  # the mean of nothing
    status = lib.rfaconv_patch_moments(
        source, win, mean.data_ptr(), cov.data_ptr(), library.threads()
    )
    check_status(status, "patch_moments")
    return mean, cov


def patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    """The kernel of ``patch_moments_backward``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    channels, taps = x.size(1), window[0] * window[1]
    dmean = plain("dmean", dmean, (channels, taps), torch.float64)
    dcov = plain("dcov", dcov, (channels, taps, taps), torch.float64)
    mean = plain("mean", mean, (channels, taps), torch.float64)
    dx = new_map(x)
    if x.size(0) == 0:
        return dx
    status = lib.rfaconv_patch_moments_backward(
        dmean.data_ptr(),
        dcov.data_ptr(),
        source,
        mean.data_ptr(),
        win,
        strided("dx", dx),
        library.threads(),
    )
    check_status(status, "patch_moments_backward")
    return dx


def feature_stats(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, variant: str, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The kernel of ``feature_stats``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    kind = kind_of(variant, ("rfcbam", "rfca"))
    fw, fb = feature_operands(x, feature_weight, feature_bias, window)
    first, second = stats_shapes(x, variant, window)
    s0, s1 = torch.empty(first), torch.empty(second)
    if x.size(0) == 0:
        return s0, s1
    status = lib.rfaconv_feature_stats(
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        kind,
        s0.data_ptr(),
        s1.data_ptr(),
        library.threads(),
    )
    check_status(status, "feature_stats")
    return s0, s1


def feature_stats_backward(
    d0: Tensor,
    d1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel of ``feature_stats_backward``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    kind = kind_of(variant, ("rfcbam", "rfca"))
    fw, fb = feature_operands(x, feature_weight, feature_bias, window)
    first, second = stats_shapes(x, variant, window)
    d0, d1 = plain("d0", d0, first), plain("d1", d1, second)
    if variant == "rfcbam":
        s0 = plain("s0", s0, first)
    dx = new_map(x)
    dfw, dfb = torch.empty(fw.shape), torch.empty(fb.shape)
    if x.size(0) == 0:
        return dx, torch.zeros_like(feature_weight), torch.zeros_like(feature_bias)
    status = lib.rfaconv_feature_stats_backward(
        d0.data_ptr(),
        d1.data_ptr(),
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        pointer(s0),
        None,
        kind,
        strided("dx", dx),
        dfw.data_ptr(),
        dfb.data_ptr(),
        library.threads(),
    )
    check_status(status, "feature_stats_backward")
    return dx, dfw.to(feature_weight.dtype), dfb.to(feature_bias.dtype)


def _check_projection(x: Tensor, weight: Tensor, groups: int, window: Sequence[int]) -> None:
    expected = (x.size(1), window[0], window[1])
    if groups != 1:
        raise InvalidArgument("groups", "1", groups)
    if weight.dim() != 4 or weight.shape[1:] != expected:
        raise InvalidArgument(
            "weight", f"shape (O, {', '.join(map(str, expected))})", f"{tuple(weight.shape)}"
        )
    same_dtype("weight", weight, x)


def project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Sequence[int],
) -> Tensor:
    """The kernel of ``project``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    kind = kind_of(variant)
    _check_projection(x, weight, groups, window)
    fw, fb = feature_operands(x, feature_weight, feature_bias, window)
    gates = gate_operands(variant, gate, x, win)
    offset = None if bias is None else vector("bias", bias, weight.size(0), x.dtype)
    y = new_map(x, (x.size(0), weight.size(0), *win.out))
    if y.numel() == 0:
        return y
    status = lib.rfaconv_project(
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        kind,
        gate_struct(gates),
        strided("weight", weight),
        offset,
        strided("y", y),
        library.threads(),
    )
    check_status(status, "project")
    return y


def project_backward(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """The kernel of ``project_backward``."""
    lib, source, win = library.require(), strided("x", x), window_struct(x, window)
    kind = kind_of(variant)
    _check_projection(x, weight, groups, window)
    same_dtype("dy", dy, x)
    size = (x.size(0), weight.size(0), *win.out)
    if dy.shape != size:
        raise InvalidArgument("dy", f"shape {size}", f"shape {tuple(dy.shape)}")
    if len(needs) != 5:
        raise InvalidArgument("needs", "five flags", list(needs))
    fw, fb = feature_operands(x, feature_weight, feature_bias, window)
    gates = gate_operands(variant, gate, x, win)
    dy = dense(dy, x)
    dx = new_map(x) if needs[0] else x.new_empty(0)
    dfw = torch.empty(fw.shape if needs[1] else (0,))
    dfb = torch.empty(fb.shape if needs[2] else (0,))
    dweight = torch.empty(weight.shape if needs[3] else (0,))
    dgate = [torch.empty(g.shape if needs[4] else (0,)) for g in gates]
    if dy.numel() == 0:
        for result in (dx, dfw, dfb, dweight, *dgate):
            result.zero_()
    else:
        first, second = [*map(pointer, dgate), None, None][:2]
        status = lib.rfaconv_project_backward(
            strided("dy", dy),
            source,
            win,
            fw.data_ptr(),
            fb.data_ptr(),
            kind,
            gate_struct(gates),
            strided("weight", weight),
            strided("dx", dx) if needs[0] else None,
            pointer(dfw),
            pointer(dfb),
            first,
            second,
            pointer(dweight),
            library.threads(),
        )
        check_status(status, "project_backward")
    dgate = [d.to(g.dtype) for d, g in zip(dgate, gate, strict=True)]
    dfw, dfb = dfw.to(feature_weight.dtype), dfb.to(feature_bias.dtype)
    return dx, dfw, dfb, dweight.to(x.dtype), dgate
