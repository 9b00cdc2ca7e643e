"""Trained networks on images, folders and videos: what they see, drawn and as JSON.

May import: detection, segmentation and everything below them. Needs the extra ``train``; videos
need opencv-python.
"""

import warnings
from typing import Any

from rfaconv.predict.networks import Predictor, load_predictor, save_predictor
from rfaconv.predict.prediction import Prediction
from rfaconv.predict.sources import frames

__all__ = ["Prediction", "Predictor", "frames", "load_predictor", "save_predictor"]


def __getattr__(name: str) -> Any:
    if name != "Finding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("Finding is called Prediction now", DeprecationWarning, stacklevel=2)
    return Prediction
