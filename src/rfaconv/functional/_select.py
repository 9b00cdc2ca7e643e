"""Which backend runs a stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfaconv import dispatch
from rfaconv._torch import saved_tensors_hooked
from rfaconv.geometry import Problem, Window
from rfaconv.reference.features import recorded

_NAMES = {
    dtype: str(dtype).removeprefix("torch.")
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
}


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, as problems have it."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def select(op: str, variant: str, x: Tensor, window: Window, groups: int, backend: str) -> str:
    """The name of the backend that runs a stage on ``x``."""
    dtype = dtype_name(x.dtype)
    problem = Problem(op, variant, x.device.type, dtype, window, x.shape[1], groups=groups)
    return dispatch.select(problem, backend)


def select_stages(variant: str, x: Tensor, window: Window, groups: int, backend: str) -> str:
    """The name of the one backend that runs statistics and projection."""
    chosen = select("project", variant, x, window, groups, backend)
    if chosen == dispatch.REFERENCE or variant not in ("rfcbam", "rfca"):
        return chosen
    statistics = select("feature_stats", variant, x, window, groups, backend)
    if statistics == chosen or _runs("project", variant, x, window, groups, statistics):
        return statistics
    return dispatch.REFERENCE


def select_linked(
    variant: str, features: Sequence[Tensor], window: Window, groups: int, backend: str
) -> bool:
    """Whether the backend can join the backward passes of statistics and projection.

    Args:
        variant: of the operator.
        features: x, G' and b'.
        window: the sliding window.
        groups: groups of the final convolution.
        backend: that of the stages.
    """
    if backend == dispatch.REFERENCE or variant not in ("rfcbam", "rfca"):
        return False
    # a checkpoint wants the same tensors saved in the same order when it runs the layer again
    if torch.compiler.is_compiling() or saved_tensors_hooked():
        return False
    op = "feature_stats_linked_backward"
    return _runs(op, variant, features[0], window, groups, backend) and recorded(*features)


def _runs(op: str, variant: str, x: Tensor, window: Window, groups: int, backend: str) -> bool:
    dtype = dtype_name(x.dtype)
    problem = Problem(op, variant, x.device.type, dtype, window, x.shape[1], groups=groups)
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
