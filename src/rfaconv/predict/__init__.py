"""Trained networks on pictures, folders and videos: what they see, drawn and as JSON.

May import: detection, segmentation and everything below them. Needs the extra ``train``; videos
need opencv-python.
"""

from rfaconv.predict.finding import Finding
from rfaconv.predict.networks import Predictor, load_predictor, save_predictor
from rfaconv.predict.sources import frames

__all__ = ["Finding", "Predictor", "frames", "load_predictor", "save_predictor"]
