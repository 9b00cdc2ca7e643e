"""Fixtures of the backend tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rfaconv.backends.cpu import BACKEND, kernels


@pytest.fixture
def cpu_library() -> None:
    """Skips, with the library's own reason, where the CPU kernels are not built."""
    status = BACKEND.status()
    if not status.available:
        pytest.skip(f"needs the CPU kernels: {status.reason}")


class _PoisonedTorch:
    """Stands in for torch inside the kernels: fresh memory holds NaN, so nothing is left unwritten
    by luck.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def empty(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.empty(*args, **kwargs).fill_(torch.nan)


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., torch.Tensor]:
    """Fills every result that the CPU kernels allocate with NaN before the C library sees it."""
    monkeypatch.setattr(kernels, "torch", _PoisonedTorch())
    return _PoisonedTorch.empty
