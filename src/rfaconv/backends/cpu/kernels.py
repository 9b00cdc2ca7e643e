"""The CPU kernels of the operations: checks every pointer, allocates results, calls the C
library.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.abi import DTYPES, KINDS, GateStruct, TensorStruct, WindowStruct
from rfaconv.errors import InvalidArgument
from rfaconv.ops.schema import memory_format_of, stats_shapes

__all__: list[str] = []


# ---- from tensors to the structures of the C interface


def _cpu(name: str, value: Tensor) -> None:
    if value.device.type != "cpu":
        raise InvalidArgument(name, "a tensor on the cpu", f"one on {value.device}")


def _strided(name: str, value: Tensor) -> TensorStruct:
    """A map (B, C, H, W) or a weight (O, C, kh, kw) with any strides."""
    _cpu(name, value)
    code = DTYPES.get(value.dtype)
    if code is None:
        raise InvalidArgument(name, "float32 or bfloat16", str(value.dtype))
    if value.dim() != 4:
        raise InvalidArgument(name, "four dimensions", f"shape {tuple(value.shape)}")
    return TensorStruct(value.data_ptr(), tuple(value.shape), value.stride(), code)


def _vector(name: str, value: Tensor, size: int, dtype: torch.dtype) -> TensorStruct:
    """The bias (O,), as a tensor whose later sizes are one."""
    _cpu(name, value)
    if value.dtype != dtype or value.shape != (size,):
        raise InvalidArgument(
            name, f"{dtype} of shape ({size},)", f"{value.dtype} of shape {tuple(value.shape)}"
        )
    return TensorStruct(
        value.data_ptr(), (size, 1, 1, 1), (value.stride(0), 1, 1, 1), DTYPES[dtype]
    )


def _plain(
    name: str, value: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """A small operand that goes as a bare pointer: dtype and shape checked, made contiguous where
    it is not.

    Keep the returned tensor until the call returns: it may be a copy.
    """
    _cpu(name, value)
    if value.dtype != dtype or value.shape != tuple(shape):
        raise InvalidArgument(
            name, f"{dtype} of shape {tuple(shape)}", f"{value.dtype} of shape {tuple(value.shape)}"
        )
    return value.contiguous()


def _window(x: Tensor, window: Sequence[int]) -> WindowStruct:
    kh, kw, sh, sw, top, bottom, left, right, dh, dw = window
    height = (x.size(2) + top + bottom - dh * (kh - 1) - 1) // sh + 1
    width = (x.size(3) + left + right - dw * (kw - 1) - 1) // sw + 1
    if min(height, width) < 1:
        raise InvalidArgument(
            "x", f"a map larger than the window {list(window)}", f"shape {tuple(x.shape)}"
        )
    return WindowStruct((kh, kw), (sh, sw), (top, left), (dh, dw), (height, width))


def _kind(variant: str, allowed: tuple[str, ...] = tuple(KINDS)) -> int:
    if variant not in allowed:
        raise InvalidArgument("variant", f"one of {', '.join(allowed)}", repr(variant))
    return KINDS[variant]


def _gate_shapes(variant: str, x: Tensor, win: WindowStruct) -> tuple[tuple[int, ...], ...]:
    batch, channels = x.size(0), x.size(1)
    (kh, kw), (height, width) = win.kernel, win.out
    if variant == "rfa":
        return ((channels, kh * kw),)
    if variant == "rfcbam":
        return (batch, channels), (batch, kh * kw, height, width)
    if variant == "rfca":
        return (batch, channels, kh * height), (batch, channels, kw * width)
    return ()


def _gates(variant: str, gate: Sequence[Tensor], x: Tensor, win: WindowStruct) -> list[Tensor]:
    shapes = _gate_shapes(variant, x, win)
    if len(gate) != len(shapes):
        raise InvalidArgument("gate", f"{len(shapes)} tensors for {variant}", f"{len(gate)}")
    return [_plain(f"gate[{i}]", g, s) for i, (g, s) in enumerate(zip(gate, shapes, strict=True))]


def _gate_struct(gates: Sequence[Tensor]) -> GateStruct:
    pointers = [g.data_ptr() for g in gates]
    return GateStruct(*pointers)


def _features(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    channels, taps = x.size(1), window[0] * window[1]
    return (
        _plain("feature_weight", feature_weight, (channels, taps, taps)),
        _plain("feature_bias", feature_bias, (channels, taps)),
    )


def _map(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    return torch.empty(
        x.shape if size is None else size, dtype=x.dtype, memory_format=memory_format_of(x)
    )


def _dense(value: Tensor, like: Tensor) -> Tensor:
    """A gradient in the layout of its map: expanded or permuted ones are laid out first."""
    return value.contiguous(memory_format=memory_format_of(like))


def _same_dtype(name: str, value: Tensor, x: Tensor) -> None:
    if value.dtype != x.dtype:
        raise InvalidArgument(name, f"the dtype of x, {x.dtype}", str(value.dtype))


def check_status(status: int, function: str) -> None:
    if status != 0:
        text = library.require().rfaconv_status_text(status).decode()
        if "memory" in text:
            raise MemoryError(f"{function}: {text}")
        raise RuntimeError(f"{function}: {text} (status {status})")


def _pointer(value: Tensor | None) -> int | None:
    return None if value is None or value.numel() == 0 else value.data_ptr()


# ---- the six operations


@torch.library.impl("rfaconv::patch_moments", "cpu")
def _patch_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
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


@torch.library.impl("rfaconv::patch_moments_backward", "cpu")
def _patch_moments_backward(
    dmean: Tensor, dcov: Tensor, x: Tensor, mean: Tensor, window: Sequence[int]
) -> Tensor:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
    channels, taps = x.size(1), window[0] * window[1]
    dmean = _plain("dmean", dmean, (channels, taps), torch.float64)
    dcov = _plain("dcov", dcov, (channels, taps, taps), torch.float64)
    mean = _plain("mean", mean, (channels, taps), torch.float64)
    dx = _map(x)
    if x.size(0) == 0:
        return dx
    status = lib.rfaconv_patch_moments_backward(
        dmean.data_ptr(),
        dcov.data_ptr(),
        source,
        mean.data_ptr(),
        win,
        _strided("dx", dx),
        library.threads(),
    )
    check_status(status, "patch_moments_backward")
    return dx


@torch.library.impl("rfaconv::feature_stats", "cpu")
def _feature_stats(
    x: Tensor, feature_weight: Tensor, feature_bias: Tensor, variant: str, window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
    kind = _kind(variant, ("rfcbam", "rfca"))
    fw, fb = _features(x, feature_weight, feature_bias, window)
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


@torch.library.impl("rfaconv::feature_stats_backward", "cpu")
def _feature_stats_backward(
    d0: Tensor,
    d1: Tensor,
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    s0: Tensor,
    s1: Tensor,
    variant: str,
    window: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
    kind = _kind(variant, ("rfcbam", "rfca"))
    fw, fb = _features(x, feature_weight, feature_bias, window)
    first, second = stats_shapes(x, variant, window)
    d0, d1 = _plain("d0", d0, first), _plain("d1", d1, second)
    if variant == "rfcbam":
        s0 = _plain("s0", s0, first)
    dx = _map(x)
    dfw, dfb = torch.empty(fw.shape), torch.empty(fb.shape)
    if x.size(0) == 0:
        return dx, dfw.zero_(), dfb.zero_()
    status = lib.rfaconv_feature_stats_backward(
        d0.data_ptr(),
        d1.data_ptr(),
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        _pointer(s0),
        _pointer(s1),
        kind,
        _strided("dx", dx),
        dfw.data_ptr(),
        dfb.data_ptr(),
        library.threads(),
    )
    check_status(status, "feature_stats_backward")
    return dx, dfw, dfb


def _check_projection(x: Tensor, weight: Tensor, groups: int, window: Sequence[int]) -> None:
    expected = (x.size(1), window[0], window[1])
    if groups != 1:
        raise InvalidArgument("groups", "1", groups)
    if weight.dim() != 4 or weight.shape[1:] != expected:
        raise InvalidArgument(
            "weight", f"shape (O, {', '.join(map(str, expected))})", f"{tuple(weight.shape)}"
        )
    _same_dtype("weight", weight, x)


@torch.library.impl("rfaconv::project", "cpu")
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
) -> Tensor:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
    kind = _kind(variant)
    _check_projection(x, weight, groups, window)
    fw, fb = _features(x, feature_weight, feature_bias, window)
    gates = _gates(variant, gate, x, win)
    offset = None if bias is None else _vector("bias", bias, weight.size(0), x.dtype)
    y = _map(x, (x.size(0), weight.size(0), *win.out))
    if y.numel() == 0:
        return y
    status = lib.rfaconv_project(
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        kind,
        _gate_struct(gates),
        _strided("weight", weight),
        offset,
        _strided("y", y),
        library.threads(),
    )
    check_status(status, "project")
    return y


@torch.library.impl("rfaconv::project_backward", "cpu")
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    lib, source, win = library.require(), _strided("x", x), _window(x, window)
    kind = _kind(variant)
    _check_projection(x, weight, groups, window)
    _same_dtype("dy", dy, x)
    size = (x.size(0), weight.size(0), *win.out)
    if dy.shape != size:
        raise InvalidArgument("dy", f"shape {size}", f"shape {tuple(dy.shape)}")
    if len(needs) != 5:
        raise InvalidArgument("needs", "five flags", list(needs))
    fw, fb = _features(x, feature_weight, feature_bias, window)
    gates = _gates(variant, gate, x, win)
    dy = _dense(dy, x)
    dx = _map(x) if needs[0] else x.new_empty(0)
    dfw = torch.empty(fw.shape if needs[1] else (0,))
    dfb = torch.empty(fb.shape if needs[2] else (0,))
    dweight = torch.empty(weight.shape if needs[3] else (0,))
    dgate = [torch.empty(g.shape if needs[4] else (0,)) for g in gates]
    if dy.numel() == 0:
        for result in (dx, dfw, dfb, dweight, *dgate):
            result.zero_()
        return dx, dfw, dfb, dweight.to(x.dtype), dgate
    dgate_a, dgate_b = [*map(_pointer, dgate), None, None][:2]
    status = lib.rfaconv_project_backward(
        _strided("dy", dy),
        source,
        win,
        fw.data_ptr(),
        fb.data_ptr(),
        kind,
        _gate_struct(gates),
        _strided("weight", weight),
        _strided("dx", dx) if needs[0] else None,
        _pointer(dfw),
        _pointer(dfb),
        dgate_a,
        dgate_b,
        _pointer(dweight),
        library.threads(),
    )
    check_status(status, "project_backward")
    return dx, dfw, dfb, dweight.to(x.dtype), dgate
