"""Operations and layers take the kernels on CPU tensors, where the interpreter runs them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.backends.triton.registration import KERNELS
from rfaconv.functional import batch_norm, stages


@contextmanager
def registered(*names: str) -> Iterator[list[str]]:
    """Registers the kernels of some operations for the CPU; yields which of them ran."""
    library, ran = torch.library.Library("rfaconv", "IMPL"), []

    def register(name: str) -> None:
        module = import_module(f"rfaconv.backends.triton.{KERNELS[name]}")

        def run(*args: Any) -> Any:
            ran.append(name)
            return getattr(module, name)(*args)

        library.impl(name, run, "CPU", allow_override=True)

    with warnings.catch_warnings():
        # what torch 2.11 says once in a process, allowed or not
        warnings.filterwarnings("ignore", "Warning only once for all operators", UserWarning)
        for name in names:
            register(name)
    yield ran
    library._destroy()


def stages_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers take the Triton kernels, but for BatchNorm, unless they are of the reference."""
    monkeypatch.setattr(stages, "select", selected)
    monkeypatch.setattr(batch_norm, "select", lambda *_: "reference")
    monkeypatch.setattr(batch_norm, "patch_moments", lambda x, w, _: reference.patch_moments(x, w))


def selected(*arguments: Any) -> str:
    """Takes the place of ``stages.select``."""
    return "reference" if arguments[-1] == "reference" else "triton"


def chosen(*_: Tensor, backend: str, **__: Any) -> str:
    """Takes the place of ``gate_backend``."""
    return "" if backend == "reference" else "triton"
