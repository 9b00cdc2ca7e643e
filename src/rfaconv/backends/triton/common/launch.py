"""The one place where kernels are launched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

__all__ = ["WORKSPACE_BYTES", "cdiv", "chunks", "execute", "interpreting", "launch"]

WORKSPACE_BYTES = int(os.environ.get("RFACONV_TRITON_WORKSPACE", str(128 * 2**20)))
"""Bytes that one workspace of a chunk of images may take (environment variable
RFACONV_TRITON_WORKSPACE).
"""


def cdiv(value: int, divisor: int) -> int:
    """Quotient, rounded up."""
    return -(-value // divisor)


def chunks(batch: int, bytes_per_image: int) -> list[tuple[int, int]]:
    """Ranges of images whose workspace stays within :data:`WORKSPACE_BYTES`, of equal size but for
    the last.

    Example:
        >>> chunks(5, 30 * 2**20)
        [(0, 2), (2, 4), (4, 5)]
    """
    # never beyond the offsets of 32 bits that maps of ordinary size are given
    most = max(1, min(batch, min(WORKSPACE_BYTES, 2**31 - 1) // max(1, bytes_per_image)))
    size = cdiv(batch, cdiv(batch, most)) if batch else 1
    return [(start, min(start + size, batch)) for start in range(0, batch, size)]


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter (environment variable TRITON_INTERPRET)."""
    return bool(triton.knobs.runtime.interpret)


def execute(
    kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], options: dict[str, Any]
) -> Any:
    """Runs a kernel; the ahead-of-time tests put a compiler in its place."""
    return kernel[grid](**arguments, **options)


def launch(
    kernel: Any, grid: Sequence[int], like: Tensor, arguments: dict[str, Any], **options: Any
) -> Any:
    """Launches a kernel on the device of ``like``; nothing to do where the grid is empty."""
    if 0 in grid:
        return None
    device: Any = torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext()
    # named because the default is to change between versions of Triton; the kernels count on it
    options["enable_fp_fusion"] = True
    with device:
        return execute(kernel, tuple(grid), arguments, options)
