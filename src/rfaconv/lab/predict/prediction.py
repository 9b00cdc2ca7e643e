"""What a network sees in one image, as JSON and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rfaconv.lab.data.masks import IGNORED


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        classes: (name, probability), the likeliest first; None for other tasks.
        boxes: (name, score, (x1, y1, x2, y2) in pixels), the surest first; None for other tasks.
        mask: class of every pixel (H, W), int64; None for other tasks.
        names: of the classes.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, float], ...] | None = None
    boxes: tuple[tuple[str, float, tuple[float, ...]], ...] | None = None
    mask: Tensor | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels of the mask, of which the share of every class is given."""
        result: dict[str, Any] = {}
        if self.classes is not None:
            result["classes"] = [{"name": n, "score": round(s, 6)} for n, s in self.classes]
        if self.boxes is not None:
            result["boxes"] = [
                {"name": n, "score": round(s, 6), "box": [round(v, 2) for v in box]}
                for n, s, box in self.boxes
            ]
        if self.mask is not None:
            counts = torch.bincount(self.mask.flatten(), minlength=len(self.names))
            total = self.mask.numel()
            result["mask"] = {
                name: round(int(counts[i]) / total, 6)
                for i, name in enumerate(self.names)
                if counts[i]
            }
        return result

    def draw(self, image: Tensor) -> Tensor:
        """Draws on an image (3, H, W), uint8, and returns a new one.

        A small image is enlarged by a whole factor, so that labels can be read. Classes have bars
        beside the image or below it, and the classes of a mask a legend below it.
        """
        from rfaconv.lab.predict import drawing

        picture, factor = drawing.enlarged(image)
        if self.mask is not None:
            picture = drawing.with_mask(picture, self.mask, IGNORED)
        if self.boxes:
            drawing.draw_boxes(picture, factor, self.boxes, self.names)
        if self.mask is not None:
            picture = drawing.legend(picture, self.mask, self.names)
        if self.classes:
            picture = drawing.bars(picture, self.classes)
        return drawing.as_tensor(picture)
