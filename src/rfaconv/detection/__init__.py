"""Object detection: images with boxes, and detectors with the operators in their backbones.

May import: training, data, models and everything below them. Needs the extras ``train`` and
``detect``.
"""

from rfaconv.detection.coco import read_coco
from rfaconv.detection.networks import DETECTORS, build_detector
from rfaconv.detection.samples import DataProblem, DetectionSet, Problem, Sample
from rfaconv.detection.voc import read_voc
from rfaconv.detection.yolo import read_yolo

__all__ = [
    "DETECTORS",
    "DataProblem",
    "DetectionSet",
    "Problem",
    "Sample",
    "build_detector",
    "read_coco",
    "read_voc",
    "read_yolo",
]
