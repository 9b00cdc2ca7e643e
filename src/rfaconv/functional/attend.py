"""A whole layer in inference as one operation, where a backend has it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfaconv import dispatch
from rfaconv._autocast import under_autocast
from rfaconv.functional._select import dtype_name
from rfaconv.geometry import Problem, Window

_KINDS = (Tensor, nn.Parameter)


# the overload: to look it up at every call takes longer than to call it
_OP = torch.ops.rfaconv.attend.default


# a layer asks at every call; plain values, so an answer holds for good
@functools.lru_cache(maxsize=256)
def _problem(
    variant: str, device: str, dtype: torch.dtype, window: Window, channels: int, outputs: int,
    groups: int,
) -> tuple[Problem, list[int]]:  # fmt: skip
    name = dtype_name(dtype)
    problem = Problem("attend", variant, device, name, window, channels, outputs, groups)
    return problem, window.to_ints()


class RunningNorm(NamedTuple):
    """What a BatchNorm of M channels normalises with in evaluation.

    Attributes:
        mean: running mean (M,).
        variance: running variance (M,).
        weight: scale (M,) or None for ones.
        bias: shift (M,) or None for zeros.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float


class Attention(NamedTuple):
    """The parameters that an operator's attention is made from.

    Attributes:
        weights: ``rfa``: (C * T, 1, 1, 1). ``rfcbam``: squeeze (M, C), excitation (C, M), spatial
            (1, 2, *kernel). ``rfca``: reduction (M, C, 1, 1), rows and columns (C, M, 1, 1).
        biases: of the three layers of ``rfca``, each (M,) or (C,) or None.
        norm: of the M hidden channels of ``rfca``.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor | None] = ()
    norm: RunningNorm | None = None


def attend(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor | RunningNorm,
    attention: Attention,
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    groups: int,
    window: Window,
    backend: str = "auto",
) -> Tensor | None:
    """The output of an operator, or None where it has to be computed stage by stage.

    It has to where autograd records, under autocast, while a program is traced, where dtypes,
    devices or kinds of tensors are mixed, and where no backend takes the problem.

    Args:
        x: input (B, C, H, W).
        feature_weight: G as a grouped convolution's weight (C * T, 1, *kernel).
        feature_bias: b' (C * T,), or the BatchNorm behind G.
        attention: parameters of the attention.
        weight: final weight (O, C/groups, *kernel).
        bias: (O,) or None.
        variant: ``rfa``, ``rfcbam`` or ``rfca``.
        groups: groups of the final convolution.
        window: the sliding window.
        backend: ``auto`` or the name of one.
    """
    feature_norm: RunningNorm | tuple[()] = ()
    offset: Tensor | None = None
    if isinstance(feature_bias, RunningNorm):
        feature_norm = feature_bias
    else:
        offset = feature_bias
    attention_norm = () if attention.norm is None else attention.norm
    tensors = (
        feature_weight, offset, *feature_norm[:4], *attention.weights, *attention.biases,
        *attention_norm[:4], weight, bias,
    )  # fmt: skip
    if not _alike(x, tensors):
        return None
    problem, ints = _problem(
        variant, x.device.type, x.dtype, window, x.shape[1], weight.shape[0], groups
    )
    chosen = dispatch.select(problem, backend, required=False)
    if chosen == dispatch.REFERENCE:
        return None
    y: Tensor = _OP(
        x,
        feature_weight,
        offset,
        feature_norm[:4],
        feature_norm[4] if feature_norm else 0.0,
        attention.weights,
        attention.biases,
        attention_norm[:4],
        attention_norm[4] if attention_norm else 0.0,
        weight,
        bias,
        variant,
        groups,
        ints,
        chosen,
    )
    return y


def _alike(x: Tensor, tensors: Sequence[Tensor | None]) -> bool:
    """Whether all are ordinary tensors of one dtype on one device, and autograd records none."""
    dtype, device, recording = x.dtype, x.device, torch.is_grad_enabled()
    if type(x) not in _KINDS or (recording and x.requires_grad) or under_autocast(x):
        return False
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in _KINDS or tensor.dtype is not dtype:
            return False
        if tensor.device != device:  # of a tensor on meta, the op would give memory as it lies
            return False
        if recording and tensor.requires_grad:
            return False
    return True
