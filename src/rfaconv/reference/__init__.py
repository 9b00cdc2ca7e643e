"""The formulas in plain torch: right in float64, exportable, differentiable any number of times.

May import: _autocast, errors, geometry, variants.
"""

from rfaconv.reference.features import (
    features,
    linear_features,
    normed_features,
    patch_mean,
    shared_features,
)
from rfaconv.reference.folding import feature_statistics, fold_batch_norm, fold_batch_statistics
from rfaconv.reference.moments import patch_moments
from rfaconv.reference.projection import gate_panel, project
from rfaconv.reference.stats import feature_stats

__all__ = [
    "feature_statistics",
    "feature_stats",
    "features",
    "fold_batch_norm",
    "fold_batch_statistics",
    "gate_panel",
    "linear_features",
    "normed_features",
    "patch_mean",
    "patch_moments",
    "project",
    "shared_features",
]
