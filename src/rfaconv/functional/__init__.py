"""Every operator as a function of tensors, and what its arguments are made with.

May import: dispatch and everything below it.
"""

import warnings
from typing import Any

from rfaconv.functional.baselines import ca_conv, cam_conv, cbam_conv
from rfaconv.functional.batch_norm import BatchNormState, fold_features
from rfaconv.functional.coordinate import CoordinateWeights, coordinate_gates
from rfaconv.functional.operators import rfa_conv, rfca_conv, rfcbam_conv, unfold_rfa_conv
from rfaconv.functional.squeeze import squeeze_excite

__all__ = [
    "BatchNormState",
    "CoordinateWeights",
    "ca_conv",
    "cam_conv",
    "cbam_conv",
    "coordinate_gates",
    "fold_features",
    "rfa_conv",
    "rfca_conv",
    "rfcbam_conv",
    "squeeze_excite",
    "unfold_rfa_conv",
]

# stages of the operators, public until 0.1: module that has each now
_STAGES = {
    "ReceptiveField": "field",
    "channel_gate": "baselines",
    "feature_stats": "field",
    "patch_moments": "batch_norm",
    "pixel_gate": "pixel",
    "prepare_input": "_arguments",
    "project": "projection",
    "receptive_field": "field",
    "spatial_gate": "baselines",
}


def __getattr__(name: str) -> Any:
    if name not in _STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    text = f"rfaconv.functional.{name} is a stage of the operators and no longer public"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return getattr(import_module(f"rfaconv.functional.{_STAGES[name]}"), name)
