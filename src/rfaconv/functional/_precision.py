"""Which dtype a computation runs in under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Returns the dtype that autocast wants products of ``x`` in; None outside of autocast."""
    if x.dtype == torch.float64 or not _enabled(x):
        return None
    return torch.get_autocast_dtype(x.device.type)


def _enabled(x: Tensor) -> bool:
    # torch refuses to answer for the meta device, which has no autocast
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def cast(tensor: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
    """Casts if there is something to cast and a dtype to cast to."""
    return tensor if tensor is None or dtype is None else tensor.to(dtype)


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Keeps features, gates and statistics in the dtype that they are given in."""
    if _enabled(x):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


_NAMES = {
    dtype: str(dtype).removeprefix("torch.")
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
}


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, as problems have it."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")
