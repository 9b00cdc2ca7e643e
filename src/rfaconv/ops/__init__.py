"""Schema, fake kernels and gradients of the operations; knows shapes, no backend. May import L0
and L1.

Importing this package registers ``torch.ops.rfaconv.*``: it is cheap and touches neither Triton nor
the C library.
"""

from __future__ import annotations

from rfaconv.ops import attend, autograd, fold, gate_gradients, gates, linked, schema
from rfaconv.ops.schema import CHANNELS_ADJACENT

__all__ = ["CHANNELS_ADJACENT", "NAMES", "autograd", "gate_gradients", "linked"]

NAMES = (
    *schema.DEFINITIONS, *attend.DEFINITION, *gates.DEFINITIONS, *fold.DEFINITIONS,
    *linked.DEFINITIONS,
)  # fmt: skip
"""Every op; a backend has kernels for some of them."""
