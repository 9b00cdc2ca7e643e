"""Schema, fake kernels and gradients of the operations; knows shapes, no backend. May import L0
and L1.

Importing this package registers ``torch.ops.rfaconv.*``: it is cheap and touches neither Triton nor
the C library.
"""

from __future__ import annotations

from rfaconv.ops import autograd, flops, fold, gate_gradients, gates, linked, schema

__all__ = ["autograd", "flops", "fold", "gate_gradients", "gates", "linked", "schema"]
