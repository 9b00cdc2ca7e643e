"""What checkpoints name; importing this module registers the operators.

Unpickling a checkpoint, and a process of a multi-GPU training that unpickles its callbacks, import
the module that defines what they name. So the classes of
:mod:`rfaconv.integrations.ultralytics.operators` say that they come from here.
"""

from __future__ import annotations

from rfaconv.integrations.ultralytics import hook
from rfaconv.integrations.ultralytics.names import LAYER_NAMES
from rfaconv.integrations.ultralytics.operators import BLOCKS, HEADS, LAYERS, MODULES, OperatorConv
from rfaconv.integrations.ultralytics.starting import bring_operators

__all__ = [
    "BLOCKS", "HEADS", "LAYERS", "LAYER_NAMES", "MODULES", "OperatorConv", "bring_operators",
]  # fmt: skip

globals().update(MODULES)  # so that pickle finds them

hook.install()
