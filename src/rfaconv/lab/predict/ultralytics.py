"""Networks of ultralytics in images: boxes, masks, keypoints, turned boxes and classes.

Results and drawing are ultralytics' own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument, RFAConvError

TASKS = ("classify", "detect", "segment", "pose", "obb")


@dataclass(frozen=True)
class UltralyticsPrediction:
    """What a network of ultralytics found in one image.

    Attributes:
        results: an ``ultralytics.engine.results.Results``.
    """

    results: Any

    def to_json(self) -> dict[str, Any]:
        """Classes, or one entry for every object, the surest first.

        An object has its name, score and ``box`` (x1, y1, x2, y2 in pixels); of a segmentation a
        ``polygon`` (points in pixels); of a pose ``keypoints`` (x, y and, if there is one, the
        score of each); turned boxes have ``corners`` (four points in pixels), ``center``, ``size``
        (width and height) and ``angle`` (of the width, in radians, clockwise from the x axis).
        """
        found = self.results
        if found.probs is not None:
            chances, names = found.probs.data.tolist(), found.names
            return {
                "classes": [
                    {"name": names[int(i)], "score": round(chances[int(i)], 6)}
                    for i in found.probs.top5
                ]
            }
        objects = found.obb if found.obb is not None else found.boxes
        entries = [self._object(i, objects) for i in range(len(objects))]
        return {"boxes": sorted(entries, key=lambda e: -e["score"])}

    def _object(self, i: int, objects: Any) -> dict[str, Any]:
        found = self.results
        entry: dict[str, Any] = {
            "name": found.names[int(objects.cls[i])],
            "score": round(float(objects.conf[i]), 6),
            "box": _round(objects.xyxy[i]),
        }
        if found.obb is not None:
            x, y, width, height, angle = found.obb.xywhr[i].tolist()
            entry["corners"] = _round(found.obb.xyxyxyxy[i])
            entry["center"], entry["size"] = _round([x, y]), _round([width, height])
            entry["angle"] = round(angle, 6)
        if found.masks is not None:
            entry["polygon"] = _round(found.masks.xy[i])
        if found.keypoints is not None:
            entry["keypoints"] = _round(found.keypoints.data[i])
        return entry

    def draw(self, image: Tensor) -> Tensor:
        """Ultralytics' drawing of the image (3, H, W), uint8."""
        drawn = self.results.plot()[..., ::-1].copy()
        return torch.from_numpy(drawn).permute(2, 0, 1).contiguous()


def _round(values: Any) -> Any:
    values = values.tolist() if hasattr(values, "tolist") else values
    return [_round(v) if isinstance(v, list) else round(float(v), 2) for v in values]


def open_yolo(path: Path) -> Any:
    """The ``YOLO`` of a file.

    Raises:
        InvalidArgument: the file needs classes that are not here, or is no such checkpoint, or of a
            task that cannot be drawn.
    """
    from rfaconv.registration import register

    # a class that is not here would be looked for in a package index
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    register("ultralytics")
    expected = "a .pt file of ultralytics"
    try:
        yolo = import_module("ultralytics").YOLO(path)
    except (ModuleNotFoundError, AttributeError) as error:
        hint = f"to read one of a fork: rfaconv yolo import {path} --out new.pt"
        raise InvalidArgument("weights", f"{expected} ({hint})", f"{path}: {error}") from error
    except RFAConvError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise InvalidArgument("weights", expected, f"{path}: {text}") from error
    if yolo.task not in TASKS:
        raise InvalidArgument("weights", f"a task of {', '.join(TASKS)}", f"{path}: {yolo.task}")
    return yolo


def find_in(yolo: Any, image: Tensor, threshold: float) -> UltralyticsPrediction:
    """What ``yolo`` sees in an image (3, H, W), uint8."""
    pixels = image.flip(0).permute(1, 2, 0).contiguous().numpy()  # ultralytics takes BGR
    return UltralyticsPrediction(
        yolo.predict(pixels, conf=threshold, device="cpu", verbose=False, save=False)[0]
    )
