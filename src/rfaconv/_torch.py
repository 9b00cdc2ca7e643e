"""What differs between the oldest torch that is supported and the newest. May import nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

__all__ = ["is_exporting", "saved_tensors_hooked"]


def _exporting() -> bool:
    """The answer of torch 2.6, which has no such question: Dynamo knows what it traces for."""
    dynamo = sys.modules.get("torch._dynamo.symbolic_convert")
    translator = getattr(dynamo.tls, "current_tx", None) if dynamo else None
    if translator is not None:
        return bool(translator.export)
    return torch.compiler.is_compiling()


# asked while Dynamo traces, not traced by it
_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]

is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", _exporting)
"""Whether ``torch.export`` traces (2.7 and later tell)."""


def saved_tensors_hooked() -> bool:
    """Whether hooks see what autograd saves, as those of activation checkpointing do."""
    # torch has no public name for it; without one nobody can be asked
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is not None and top(True) is not None
