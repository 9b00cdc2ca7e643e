"""Whether autocast is on, and how it is kept out of what has a dtype of its own.

May import nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

__all__ = ["in_given_dtype", "under_autocast", "without_autocast"]

Function = TypeVar("Function", bound=Callable[..., Any])


def under_autocast(x: Tensor) -> bool:
    """Whether autocast is on for the device of x."""
    # torch refuses to answer for the meta device, which has no autocast
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Keeps features, gates and statistics in the dtype that they are given in."""
    if under_autocast(x):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def in_given_dtype(function: Function) -> Function:
    """The function, whose first argument is a map, with autocast switched off while it runs."""

    @functools.wraps(function)
    def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not under_autocast(x):
            return function(x, *args, **kwargs)
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *args, **kwargs)

    return cast(Function, run)
