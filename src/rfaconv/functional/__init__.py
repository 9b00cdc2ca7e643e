"""Every operator and every stage as a function of tensors.

May import: dispatch and everything below it.
"""

from rfaconv.functional.baselines import ca_conv, cam_conv, cbam_conv, channel_gate, spatial_gate
from rfaconv.functional.batch_norm import BatchNormState, fold_features
from rfaconv.functional.coordinate import CoordinateWeights, coordinate_gates
from rfaconv.functional.operators import rfa_conv, rfca_conv, rfcbam_conv, unfold_rfa_conv
from rfaconv.functional.squeeze import squeeze_excite
from rfaconv.functional.stages import (
    ReceptiveField,
    feature_stats,
    patch_moments,
    pixel_gate,
    prepare_input,
    project,
    receptive_field,
)

__all__ = [
    "BatchNormState",
    "CoordinateWeights",
    "ReceptiveField",
    "ca_conv",
    "cam_conv",
    "cbam_conv",
    "channel_gate",
    "coordinate_gates",
    "feature_stats",
    "fold_features",
    "patch_moments",
    "pixel_gate",
    "prepare_input",
    "project",
    "receptive_field",
    "rfa_conv",
    "rfca_conv",
    "rfcbam_conv",
    "spatial_gate",
    "squeeze_excite",
    "unfold_rfa_conv",
]
