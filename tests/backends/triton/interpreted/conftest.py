"""The kernels in Triton's interpreter, on CPU tensors, in a process with TRITON_INTERPRET=1.

``tests/backends/triton/conftest.py`` sees to that.
"""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch

from rfaconv.backends import triton
from rfaconv.backends.triton.common import configs


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


def launching() -> list[ModuleType]:
    """The modules of the backend that allocate memory."""
    found = pkgutil.walk_packages(triton.__path__, f"{triton.__name__}.")
    modules = [import_module(module.name) for module in found]
    return [module for module in modules if hasattr(module, "torch")]


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the launch code allocates holds NaN until a kernel writes it."""
    new_empty = torch.Tensor.new_empty

    def poisoned(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        value = new_empty(self, *args, **kwargs)
        return value.fill_(torch.nan) if value.is_floating_point() else value

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    modules = launching()
    assert len(modules) > 10
    for module in modules:
        monkeypatch.setattr(module, "torch", _PoisonedTorch())


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One program where the table has many: the interpreter's time goes by programs, not by size.

    Tile sizes say nothing about correctness, which one test checks with the table's own.
    """
    for name in ("tile", "gather"):
        function = getattr(configs, name)
        monkeypatch.setattr(
            configs, name, lambda *args, own=function: replace(own(*args), block_p=64)
        )
