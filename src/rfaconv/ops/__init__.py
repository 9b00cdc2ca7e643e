"""Schema, fake kernels and gradients of the operations; knows shapes, no backend. May import L0
and L1.

Importing this package registers ``torch.ops.rfaconv.*``: it is cheap and touches neither Triton nor
the C library.
"""

from __future__ import annotations

import sys

from rfaconv.ops import attend, autograd, fold, gate_gradients, gates, linked, schema
from rfaconv.ops.schema import CHANNELS_ADJACENT

__all__ = [
    "CHANNELS_ADJACENT",
    "NAMES",
    "autograd",
    "gate_gradients",
    "linked",
    "tell_flop_counter",
]

NAMES = (
    *schema.DEFINITIONS, *attend.DEFINITION, *gates.DEFINITIONS, *fold.DEFINITIONS,
    *linked.DEFINITIONS,
)  # fmt: skip
"""Every op; a backend has kernels for some of them."""


def tell_flop_counter() -> None:
    """Registers the formulas of the ops with torch's FlopCounterMode if somebody has imported it.

    The counter copies the formulas when it is made, so layers ask when they are made. Its import
    brings Triton along, which nobody who counts nothing should wait for.
    """
    if "torch.utils.flop_counter" in sys.modules:
        from rfaconv.ops import flops  # noqa: F401  registers them


tell_flop_counter()
