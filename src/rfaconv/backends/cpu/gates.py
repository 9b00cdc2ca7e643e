"""The CPU kernels of the operations that make gates from statistics, for inference."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.abi import WindowStruct
from rfaconv.backends.cpu.operands import check_status, plain, pointer
from rfaconv.errors import InvalidArgument

__all__ = ["line_gates", "line_hidden", "pixel_gate"]


def pixel_gate(maximum: Tensor, mean: Tensor, weight: Tensor, window: Sequence[int]) -> Tensor:
    """The kernel of ``pixel_gate``."""
    lib, kernel = library.require(), (window[0], window[1])
    taps = kernel[0] * kernel[1]
    if maximum.dim() != 4 or maximum.size(1) != taps:
        raise InvalidArgument("maximum", f"shape (B, {taps}, Ho, Wo)", tuple(maximum.shape))
    if weight.dim() != 4 or weight.size(2) % 2 == 0 or weight.size(3) % 2 == 0:
        raise InvalidArgument("weight", "shape (1, 2, odd, odd)", tuple(weight.shape))
    maximum = plain("maximum", maximum, maximum.shape)
    mean = plain("mean", mean, maximum.shape)
    weight = plain("weight", weight.float(), (1, 2, *weight.shape[2:]))
    gate = torch.empty(maximum.shape)
    if gate.numel() == 0:
        return gate
    # of the window only kernel and out are read
    win = WindowStruct(kernel, (1, 1), (0, 0), (1, 1), tuple(maximum.shape[2:]))
    status = lib.rfaconv_pixel_gate(
        maximum.data_ptr(),
        mean.data_ptr(),
        weight.data_ptr(),
        (c_int64 * 2)(*weight.shape[2:]),
        maximum.size(0),
        win,
        gate.data_ptr(),
        library.threads(),
    )
    check_status(status, "pixel_gate")
    return gate


def line_hidden(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The kernel of ``line_hidden``."""
    lib = library.require()
    if first.dim() != 3 or second.dim() != 3:
        raise InvalidArgument("first", "shape (B, C, L), as second", tuple(first.shape))
    batch, channels, length = first.shape
    first = plain("first", first, first.shape)
    second = plain("second", second, (batch, channels, second.size(2)))
    weight = plain("weight", weight.float(), (weight.size(0), channels))
    hidden = torch.empty(batch, weight.size(0), length + second.size(2))
    if bias is not None:
        bias = plain("bias", bias.float(), (weight.size(0),))
    if hidden.numel() == 0:
        return hidden
    status = lib.rfaconv_line_hidden(
        first.data_ptr(),
        second.data_ptr(),
        weight.data_ptr(),
        pointer(bias),
        (c_int64 * 5)(batch, channels, weight.size(0), length, second.size(2)),
        hidden.data_ptr(),
        library.threads(),
    )
    check_status(status, "line_hidden")
    return hidden


def line_gates(
    hidden: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], first: int
) -> tuple[Tensor, Tensor]:
    """The kernel of ``line_gates``."""
    lib = library.require()
    if hidden.dim() != 3 or not 0 < first < hidden.size(2):
        raise InvalidArgument("hidden", f"shape (B, M, more than {first})", tuple(hidden.shape))
    if len(weights) != 2 or len(biases) != 2:
        raise InvalidArgument("weights", "two, and two biases", (len(weights), len(biases)))
    batch, width, total = hidden.shape
    channels = weights[0].size(0)
    hidden = plain("hidden", hidden, hidden.shape)
    matrices = [plain(f"weights[{i}]", w.float(), (channels, width)) for i, w in enumerate(weights)]
    offsets = [
        b if b is None else plain(f"biases[{i}]", b.float(), (channels,))
        for i, b in enumerate(biases)
    ]
    lengths = (first, total - first)
    gates = [torch.empty(batch, channels, length) for length in lengths]
    if batch * channels == 0:
        return gates[0], gates[1]
    pointers = c_void_p * 2
    status = lib.rfaconv_line_gates(
        hidden.data_ptr(),
        pointers(*(w.data_ptr() for w in matrices)),
        pointers(*(pointer(b) for b in offsets)),
        (c_int64 * 5)(batch, channels, width, *lengths),
        pointers(*(g.data_ptr() for g in gates)),
        library.threads(),
    )
    check_status(status, "line_gates")
    return gates[0], gates[1]
