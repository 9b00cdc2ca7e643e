"""An old name for a part of :mod:`rfaconv.lab`, for one release."""

from rfaconv._moved import moved

__getattr__ = moved(__name__)
