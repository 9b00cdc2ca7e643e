"""The authors' published layers and checkpoints, read into ours by their key names.

May import: nn and everything below it.
"""

from rfaconv.official.checkpoint import load, read_state_dict
from rfaconv.official.layers import from_state_dict

__all__ = ["from_state_dict", "load", "read_state_dict"]
