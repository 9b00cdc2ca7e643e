"""The old name of the segmenters' parts of :mod:`rfaconv.lab`, for one release."""

from rfaconv._moved import moved

__getattr__ = moved(__name__)
