"""Trained networks on images, folders and videos: what they see, drawn and as JSON.

May import: networks and data. Needs the extra ``train``; videos
need opencv-python.
"""

from rfaconv.lab.predict.networks import Predictor, load_predictor, save_predictor
from rfaconv.lab.predict.prediction import Prediction
from rfaconv.lab.predict.sources import frames

__all__ = ["Prediction", "Predictor", "frames", "load_predictor", "save_predictor"]
