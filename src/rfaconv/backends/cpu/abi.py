"""Mirror of ``csrc/rfaconv.h``: structures, enumerations and the type of every argument, once."""

from __future__ import annotations

import ctypes
import struct
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_void_p
from typing import Any

import torch

__all__ = [
    "ABI_VERSION",
    "DTYPES",
    "KINDS",
    "LAYER",
    "GateStruct",
    "OpenmpStruct",
    "TensorStruct",
    "WindowStruct",
    "declare",
]

ABI_VERSION = 4

DTYPES: dict[torch.dtype, int] = {torch.float32: 0, torch.bfloat16: 1}
KINDS: dict[str, int] = {"rfa": 0, "rfcbam": 1, "rfca": 2, "none": 3}


class TensorStruct(Structure):
    """``rfaconv_tensor``: pointer, size and stride in elements in the order B C H W, dtype."""

    _fields_ = (
        ("data", c_void_p),
        ("size", c_int64 * 4),
        ("stride", c_int64 * 4),
        ("dtype", c_int32),
    )


class WindowStruct(Structure):
    """``rfaconv_window``: the high side of the padding follows from the output size."""

    _fields_ = (
        ("kernel", c_int64 * 2),
        ("stride", c_int64 * 2),
        ("pad", c_int64 * 2),
        ("dilation", c_int64 * 2),
        ("out", c_int64 * 2),
    )


class GateStruct(Structure):
    """``rfaconv_gate``: two contiguous float32 tensors; their meaning depends on the variant."""

    _fields_ = (("a", c_void_p), ("b", c_void_p))


_TENSOR, _WINDOW, _NORM = "P8qi4x", "10q", "4Pd"
LAYER = struct.Struct(f"@{4 * _TENSOR}{_WINDOW}2P{_NORM}6P{_NORM}7q")
"""``rfaconv_layer``: x, weight, bias, y (each pointer, size, stride, dtype), window, feature weight
and bias, feature norm (mean, variance, weight, bias, eps), attention (three weights, three biases,
norm, hidden, spatial size, spatial stride), kind. Packed at once, which costs a third of ctypes'
structures.
"""


class OpenmpStruct(Structure):
    """``rfaconv_openmp``: functions of an OpenMP runtime; what it lacks is null."""

    _fields_ = (
        ("thread_num", c_void_p),
        ("num_threads", c_void_p),
        ("gomp_parallel", c_void_p),
        ("gomp_barrier", c_void_p),
        ("kmp_fork", c_void_p),
        ("kmp_push_num_threads", c_void_p),
        ("kmp_thread", c_void_p),
        ("kmp_barrier", c_void_p),
    )


_tensor, _window, _gate = POINTER(TensorStruct), POINTER(WindowStruct), POINTER(GateStruct)
# Plain pointers go as integers (Tensor.data_ptr()), so they are void pointers here; the comment
# names the C type.
_float, _double = c_void_p, c_void_p
_ints, _floats = POINTER(c_int64), POINTER(c_void_p)

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rfaconv_abi_version": (c_int32, ()),
    "rfaconv_isa": (c_char_p, ()),
    "rfaconv_status_text": (c_char_p, (c_int32,)),
    "rfaconv_release": (None, ()),
    "rfaconv_bind_openmp": (c_int32, (POINTER(OpenmpStruct),)),
    # x, window, mean, cov, threads
    "rfaconv_patch_moments": (c_int32, (_tensor, _window, _double, _double, c_int32)),
    # dmean, dcov, x, mean, window, dx, threads
    "rfaconv_patch_moments_backward": (
        c_int32,
        (_double, _double, _tensor, _double, _window, _tensor, c_int32),
    ),
    # x, window, feature_weight, feature_bias, kind, s0, s1, threads
    "rfaconv_feature_stats": (
        c_int32,
        (_tensor, _window, _float, _float, c_int32, _float, _float, c_int32),
    ),
    # d0, d1, x, window, feature_weight, feature_bias, s0, s1, kind, dx, dfeature_weight,
    # dfeature_bias, threads
    "rfaconv_feature_stats_backward": (
        c_int32,
        (
            *(_float, _float, _tensor, _window, _float, _float),
            *(_float, _float, c_int32, _tensor, _float, _float, c_int32),
        ),
    ),
    # x, reduce, expand, hidden, gate, threads
    "rfaconv_channel_gate": (c_int32, (_tensor, _float, _float, c_int64, _float, c_int32)),
    # top, mean, weight, spatial, batch, window, gate, threads
    "rfaconv_pixel_gate": (
        c_int32,
        (_float, _float, _float, _ints, c_int64, _window, _float, c_int32),
    ),
    # first, second, weight, bias, size, hidden, threads
    "rfaconv_line_hidden": (
        c_int32,
        (_float, _float, _float, _float, _ints, _float, c_int32),
    ),
    # hidden, weight, bias, size, gate, threads
    "rfaconv_line_gates": (c_int32, (_float, _floats, _floats, _ints, _floats, c_int32)),
    # x, window, feature_weight, feature_bias, kind, gate, weight, bias, y, threads
    "rfaconv_project": (
        c_int32,
        (_tensor, _window, _float, _float, c_int32, _gate, _tensor, _tensor, _tensor, c_int32),
    ),
    # layer, bytes, threads
    "rfaconv_forward": (c_int32, (c_char_p, c_int64, c_int32)),
    # dy, x, window, feature_weight, feature_bias, kind, gate, weight,
    # dx, dfeature_weight, dfeature_bias, dgate_a, dgate_b, dweight, threads
    "rfaconv_project_backward": (
        c_int32,
        (
            *(_tensor, _tensor, _window, _float, _float, c_int32, _gate, _tensor),
            *(_tensor, _float, _float, _float, _float, _float, c_int32),
        ),
    ),
}


def declare(library: ctypes.CDLL) -> None:
    """Declares result and argument types of every function of the library.

    Raises:
        AttributeError: A function is missing: the library is of another version.
    """
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = list(arguments)
