"""Single-stage detectors as exporters take them: from a batch to one tensor of all boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from rfaconv.errors import InvalidArgument

MULTIPLE = 32
"""Images are filled up with zeros to sides of this, as in torchvision."""
LEAST = 256
"""Sides from which the coarsest map, of strides of 128 pixels, has more than one pixel."""


class DenseDetector(nn.Module):
    """FCOS or RetinaNet without the choice of boxes, which :func:`choose_boxes` makes.

    Args:
        network: of :func:`rfaconv.lab.networks.detectors.build_detector`.

    Shape: (B, 3, H, W), normalised, sides multiples of 32, to (B, boxes, 4 + classes): corners in
    pixels of the input, and the scores of all classes but the background.

    Raises:
        InvalidArgument: a detector of two stages.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        if not hasattr(network, "anchor_generator"):
            got = f"{type(network).__name__}: its second stage looks at the boxes of the first"
            raise InvalidArgument("model", "a detector of one stage (fcos, retinanet)", got)
        self.backbone, self.head, self.coder = network.backbone, network.head, network.box_coder
        made = network.anchor_generator
        for i, (sizes, ratios) in enumerate(zip(made.sizes, made.aspect_ratios, strict=True)):
            self.register_buffer(f"cell{i}", made.generate_anchors(sizes, ratios))

    def forward(self, x: Tensor) -> Tensor:
        """Returns every box with its scores."""
        maps = list(self.backbone(x).values())
        found = self.head(maps)
        anchors = torch.cat([self._anchors(i, x, level) for i, level in enumerate(maps)])
        scores = found["cls_logits"].sigmoid()
        if "bbox_ctrness" in found:
            scores = (scores * found["bbox_ctrness"].sigmoid()).sqrt()
        offsets = found["bbox_regression"]
        if hasattr(self.coder, "decode_single"):  # RetinaNet's takes the anchors of one image
            every = anchors.expand(x.shape[0], -1, -1).reshape(-1, 4)
            boxes = self.coder.decode_single(offsets.reshape(-1, 4), every)
            boxes = boxes.reshape(offsets.shape)
        else:
            boxes = self.coder.decode(offsets, anchors)
        return torch.cat([boxes, scores[..., 1:]], dim=-1)

    def _anchors(self, index: int, x: Tensor, level: Tensor) -> Tensor:
        """The anchors of a map as torchvision lays them; its own way keeps state."""
        cell: Tensor = self.get_buffer(f"cell{index}")
        lines = [
            torch.arange(level.shape[axis], device=x.device) * (x.shape[axis] // level.shape[axis])
            for axis in (-2, -1)
        ]
        y, x_ = torch.meshgrid(*(line.to(cell.dtype) for line in lines), indexing="ij")
        shifts = torch.stack([x_, y, x_, y], dim=-1).reshape(-1, 1, 4)
        return (shifts + cell).reshape(-1, 4)


def choice_of(network: Any) -> dict[str, float]:
    """The numbers by which a detector of one stage chooses among its boxes.

    ``score`` is the least score, ``iou`` the overlap from which the less sure of two boxes of one
    class goes, ``candidates`` and ``boxes`` are the most before and after that. torchvision takes
    so many candidates of each map, and counts the background among the boxes.
    """
    return {
        "score": network.score_thresh, "iou": network.nms_thresh,
        "candidates": network.topk_candidates, "boxes": network.detections_per_img,
    }  # fmt: skip


def choose_boxes(
    found: Tensor, height: int, width: int, *, score: float, iou: float, candidates: float,
    boxes: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Boxes, scores and classes (from 0) of one image in the output of :class:`DenseDetector`.

    Args:
        found: (boxes, 4 + classes).
        height: of the image in the input, without what fills it up; boxes are clipped to it.
        width: as height.
        score: see :func:`choice_of`, as the others.
        iou: the same.
        candidates: the same.
        boxes: the same.
    """
    index, labels = torch.where(found[:, 4:] > score)
    sure, order = found[index, 4 + labels].sort(descending=True, stable=True)
    order, sure = order[: int(candidates)], sure[: int(candidates)]
    corners, labels = found[index[order], :4], labels[order]
    corners = clip_boxes_to_image(corners, (height, width))
    kept = batched_nms(corners, sure, labels, iou)[: int(boxes)]
    return corners[kept], sure[kept], labels[kept]
