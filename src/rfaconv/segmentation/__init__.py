"""Semantic segmentation: images with masks, and networks with the operators in their encoders.

May import: training, data, models and everything below them. Needs the extras ``train`` and
``segment``.
"""

from rfaconv.segmentation.masks import IGNORED, MaskSet, read_masks, read_voc_masks
from rfaconv.segmentation.networks import SEGMENTERS, build_segmenter

__all__ = ["IGNORED", "SEGMENTERS", "MaskSet", "build_segmenter", "read_masks", "read_voc_masks"]
