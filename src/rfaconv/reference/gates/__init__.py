"""One file per variant: the gate of every tap from the variant's gate tensors.

Each file has ``panel(x, gate, window)``, the gates of all taps (B, C, T, *out) at once, and
``taps(x, gate, window)``, a function from the tap to its gate, broadcastable to (B, C, *out).
"""

from collections.abc import Callable, Sequence
from types import ModuleType

from torch import Tensor

from rfaconv.reference.gates import none, rfa, rfca, rfcbam

TapGate = Callable[[int], Tensor | None]
GateTensors = Sequence[Tensor]

GATES: dict[str, ModuleType] = {"rfa": rfa, "rfcbam": rfcbam, "rfca": rfca, "none": none}

__all__ = ["GATES", "GateTensors", "TapGate"]
