"""Operations and layers take the kernels on CPU tensors, where the interpreter runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from rfaconv.backends.registry import BACKENDS
from rfaconv.backends.triton import TritonBackend, support


class _Noted(Mapping[str, Any]):
    """Kernels that note which of them ran."""

    def __init__(self, kernels: Mapping[str, Any], ran: list[str]) -> None:
        self.kernels, self.ran = kernels, ran

    def __getitem__(self, name: str) -> Any:
        kernel = self.kernels[name]

        def run(*args: Any) -> Any:
            self.ran.append(name)
            return kernel(*args)

        return run

    def __iter__(self) -> Iterator[str]:
        return iter(self.kernels)

    def __len__(self) -> int:
        return len(self.kernels)


@contextmanager
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """``backend="triton"`` takes tensors of the CPU; yields the kernels that ran."""
    ran: list[str] = []
    backend = BACKENDS["triton"]
    monkeypatch.setenv("RFACONV_PROOF", "off")
    monkeypatch.setattr(TritonBackend, "device", "cpu")
    monkeypatch.setattr(support, "refusal", lambda: None)
    monkeypatch.setattr(TritonBackend, "kernels", _Noted(backend.kernels, ran))
    yield ran
