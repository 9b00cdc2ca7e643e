"""What a network sees in one picture, as JSON and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rfaconv.segmentation.masks import IGNORED

_COLOURS = (
    (230, 60, 60), (40, 120, 220), (40, 170, 90), (240, 170, 30), (150, 80, 200), (20, 170, 180),
    (220, 100, 160), (130, 130, 40), (90, 90, 90), (200, 120, 70), (60, 60, 160),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was found in one picture.

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
        """Draws on a picture (3, H, W), uint8, and returns a new one."""
        from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

        drawn = image
        if self.mask is not None:
            present = [i for i in self.mask.unique().tolist() if i != IGNORED]
            layers = torch.stack([self.mask == i for i in present])
            drawn = draw_segmentation_masks(
                drawn, layers, alpha=0.5, colors=[_colour(i) for i in present]
            )
        if self.boxes:
            drawn = draw_bounding_boxes(
                drawn,
                torch.tensor([box for _, _, box in self.boxes]),
                labels=[f"{name} {score:.2f}" for name, score, _ in self.boxes],
                colors=[_colour(self.names.index(name)) for name, _, _ in self.boxes],
                width=2,
            )
        if self.classes:
            text = "  ".join(f"{name} {score:.2f}" for name, score in self.classes[:3])
            drawn = _write(drawn, text)
        return drawn


def _colour(index: int) -> tuple[int, int, int]:
    return _COLOURS[index % len(_COLOURS)]


def _write(image: Tensor, text: str) -> Tensor:
    from PIL import ImageDraw
    from torchvision.transforms.functional import pil_to_tensor, to_pil_image

    picture = to_pil_image(image)
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = pen.textbbox((4, 4), text)
    pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=(0, 0, 0))
    pen.text((4, 4), text, fill=(255, 255, 255))
    result: Tensor = pil_to_tensor(picture)
    return result
