"""The kernels in Triton's interpreter, on CPU tensors, in a process with TRITON_INTERPRET=1.

``tests/backends/triton/conftest.py`` sees to that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def bounds_of_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tensors bound a loop where Triton is older than its NumPy: its interpreter then converts
    arrays of one element to an integer, which NumPy 2.4 refuses.
    """
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any, *rest: Any) -> None:
        patch(tensor, scope, *rest)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


class _PoisonedTorch:
    """Stands in for torch inside the launch code: fresh memory holds NaN."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def empty(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.empty(*args, **kwargs).fill_(torch.nan)

    @staticmethod
    def empty_like(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.empty_like(*args, **kwargs).fill_(torch.nan)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the launch code allocates holds NaN until a kernel writes it."""
    from rfaconv.backends.triton import (
        backward,
        blocks,
        channel_gate,
        fold,
        lags,
        line_gates,
        line_layers,
        linked,
        moments,
        operands,
        pixel_gate,
        project,
        stats,
        stats_blocks,
    )

    new_empty = torch.Tensor.new_empty

    def poisoned(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        value = new_empty(self, *args, **kwargs)
        return value.fill_(torch.nan) if value.is_floating_point() else value

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    launching = (
        backward,
        blocks,
        channel_gate,
        fold,
        lags,
        line_gates,
        line_layers,
        linked,
        moments,
        operands,
        pixel_gate,
        project,
        stats,
        stats_blocks,
    )
    for module in launching:
        monkeypatch.setattr(module, "torch", _PoisonedTorch())


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One program where the table has many: the interpreter's time goes by programs, not by size.

    Tile sizes say nothing about correctness, which one test checks with the table's own.
    """
    from rfaconv.backends.triton import configs

    def enlarge(name: str, **changes: int) -> None:
        function = getattr(configs, name)
        monkeypatch.setattr(
            configs, name, lambda *args, **kwargs: replace(function(*args, **kwargs), **changes)
        )

    enlarge("tile", block_p=64)
    enlarge("gather", block_p=64)
    enlarge("walk", block_p=32, length=32)
    enlarge("moments", block_p=32, length=64)
