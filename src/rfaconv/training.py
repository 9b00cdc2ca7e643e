"""The old name of :mod:`rfaconv.lab.training`, for one release."""

from rfaconv._moved import moved

__getattr__ = moved(__name__)
