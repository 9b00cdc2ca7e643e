"""Pictures from strangers: judged by their header before a pixel is decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from rfaconv.decoding import ImageProblem, TooManyPixels, read_image

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
"""Accepted content types, and the only decoder that is tried for each."""

# A progressive JPEG may repeat its picture in scans of a few bytes, each as slow as a whole one.
# Encoders write about ten; start-of-scan markers cannot occur inside compressed data.
MAX_SCANS = 100


class BadImage(Exception):
    """A picture that is not taken: the status to answer with and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def limit_pixels(max_pixels: int) -> None:
    """Makes Pillow itself refuse larger pictures, in this whole process."""
    # Pillow warns above its limit and raises above twice the limit
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(body: bytes, content_type: str, size: tuple[int, int], channels: int) -> np.ndarray:
    """A picture (height, width, channels), uint8, resized to ``size`` (height, width).

    Raises:
        BadImage: 413 for too many pixels, 422 for what is no whole picture of its type.
    """
    if content_type == "image/jpeg" and body.count(b"\xff\xda") > MAX_SCANS:
        raise BadImage(422, f"a JPEG with more than {MAX_SCANS} scans")
    try:
        picture = read_image(io.BytesIO(body), [FORMATS[content_type]])
    except TooManyPixels as error:
        limit = f"at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise BadImage(413, f"expected {limit}, got: {error}") from error
    except ImageProblem as error:
        raise BadImage(422, f"not a whole {content_type}: {error}") from error
    picture = picture.convert("L") if channels == 1 else picture
    picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(*size, channels)
