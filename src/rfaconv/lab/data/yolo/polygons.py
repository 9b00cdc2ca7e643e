"""Outlines of masks, as YOLO's labels of segmentation have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rfaconv.lab.data.yolo.labelled import Row

Mask = np.ndarray[Any, np.dtype[np.uint8]]


def outlines(mask: Mask) -> Iterator[tuple[float, ...]]:
    """The outer outline of every connected part of a mask (H, W), points in [0, 1].

    Points lie in the middle of their pixels. A part that is thinner than an area gets the rectangle
    of its pixels. Holes are filled: YOLO's labels have none.
    """
    import cv2

    height, width = mask.shape
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for contour in found:
        points = contour.reshape(-1, 2)
        if len(points) < 3 or cv2.contourArea(contour) == 0:
            (x1, y1), (x2, y2) = points.min(0), points.max(0) + 1
            shifted = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=float)
        else:
            shifted = points + 0.5
        yield tuple((shifted / (width, height)).ravel().tolist())


def mask_rows(classes: Any, objects: Any, values: Sequence[int]) -> list[Row]:
    """Rows of a mask with a class in every pixel.

    Args:
        classes: (H, W).
        objects: (H, W), the number of an object in every pixel, for objects that touch; None takes
            every connected part of a class as an object.
        values: of the classes, in the order of their names.
    """
    rows = []
    for label, value in enumerate(values):
        here = classes == value
        numbers = [0] if objects is None else np.unique(objects[here]).tolist()
        for number in numbers:
            part = here if objects is None else here & (objects == number)
            if part.any():
                rows += [(label, points) for points in outlines(part.astype(np.uint8))]
    return rows


def joined(parts: list[list[float]], size: tuple[int, int]) -> tuple[float, ...] | None:
    """One outline of an object in several parts, points in [0, 1]; None where there is no area."""
    import cv2
    from ultralytics.data.converter import merge_multi_segment

    whole = [np.array(part, dtype=float).reshape(-1, 2) for part in parts if len(part) >= 6]
    whole = [part for part in whole if cv2.contourArea(part.astype(np.float32)) > 0]
    if not whole:
        return None
    points = whole[0]
    if len(whole) > 1:
        points = np.concatenate(merge_multi_segment([part.ravel().tolist() for part in whole]))
    return tuple(np.clip(points / size, 0, 1).ravel().tolist())
