"""What differs between the oldest torch that is supported and the newest. May import nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["is_exporting"]


def _exporting_without_dynamo() -> bool:
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", _exporting_without_dynamo
)
"""Whether ``torch.export`` traces. 2.6 has no such question: there an export that runs on Dynamo
(``strict=True``, its default) looks like ``torch.compile``, and the fused ops stay in its graph.
"""
