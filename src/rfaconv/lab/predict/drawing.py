"""Classes as bars, boxes with labels and masks with a legend, at a size that can be read."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

COLOURS = (
    (230, 60, 60), (40, 120, 220), (40, 170, 90), (240, 170, 30), (150, 80, 200), (20, 170, 180),
    (220, 100, 160), (130, 130, 40), (90, 90, 90), (200, 120, 70), (60, 60, 160),
)  # fmt: skip
GOLDEN = 0.618034
SHOWN_SIDE = 448
"""Pixels of the longer side to which smaller images are enlarged before anything is drawn."""
SMALLEST_FONT, FONT_PART = 14, 32
PANEL = (250, 250, 248)
INK, SOFT, BAR = (24, 26, 30), (120, 124, 130), (40, 120, 220)

Box = tuple[str, float, tuple[float, ...]]


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class: hand-picked ones first, then hues as far apart as they can be."""
    if index < len(COLOURS):
        return COLOURS[index]
    further = index - len(COLOURS)
    bright = (0.9, 0.62)[further % 2]
    red, green, blue = colorsys.hsv_to_rgb((0.09 + GOLDEN * further) % 1, 0.75, bright)
    return round(255 * red), round(255 * green), round(255 * blue)


def font_of(size: tuple[int, int]) -> Any:
    """A font whose height follows the image's shorter side."""
    return ImageFont.load_default(max(SMALLEST_FONT, min(size) // FONT_PART))


def enlarged(image: Tensor) -> tuple[Image.Image, int]:
    """An image (3, H, W) of bytes, and the whole factor by which it has been enlarged."""
    longer = max(image.shape[-2:])
    factor = max(1, -(-SHOWN_SIDE // longer)) if longer < SHOWN_SIDE else 1
    picture: Image.Image = to_pil_image(image)
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    return picture, factor


def draw_boxes(
    picture: Image.Image, factor: int, boxes: Sequence[Box], names: Sequence[str]
) -> None:
    """Draws boxes, the surest last, each with a label that keeps inside the image."""
    pen, font = ImageDraw.Draw(picture), font_of(picture.size)
    width = max(2, min(picture.size) // 220)
    for name, _, box in reversed(boxes):
        shade = colour(names.index(name))
        x1, y1, x2, y2 = (value * factor for value in box)
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=shade, width=width)
    # labels over all boxes, so that no line crosses a text
    for name, score, box in reversed(boxes):
        shade = colour(names.index(name))
        _label(
            pen,
            font,
            picture.size,
            (box[0] * factor, box[1] * factor),
            f"{name} {score:.2f}",
            shade,
        )


def _label(pen: Any, font: Any, size: tuple[int, int], corner: tuple[float, float], text: str,
           shade: tuple[int, int, int]) -> None:  # fmt: skip
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, (bottom - top) // 4)
    wide, high = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0.0, corner[0]), max(0, size[0] - wide))
    # above the box, or inside it at the upper edge of the image
    y = corner[1] - high if corner[1] >= high else min(max(0.0, corner[1]), size[1] - high)
    pen.rectangle((x, y, x + wide, y + high), fill=shade)
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=readable_on(shade))


def readable_on(shade: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more from a colour."""
    bright = (299 * shade[0] + 587 * shade[1] + 114 * shade[2]) / 1000
    return (0, 0, 0) if bright > 140 else (255, 255, 255)


def with_mask(picture: Image.Image, mask: Tensor, ignored: int) -> Image.Image:
    """An image with the colours of its classes over it; the first class, the background, less."""
    present = [i for i in mask.unique().tolist() if i != ignored]
    layer = torch.zeros(*mask.shape, 4, dtype=torch.uint8)
    for index in present:
        strength = 140 if index or len(present) == 1 else 50
        layer[mask == index] = torch.tensor([*colour(index), strength], dtype=torch.uint8)
    over = Image.fromarray(layer.numpy(), "RGBA").resize(picture.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(picture.convert("RGBA"), over).convert("RGB")


def legend(picture: Image.Image, mask: Tensor, names: Sequence[str]) -> Image.Image:
    """An image with the classes of its mask below it, the largest share first."""
    counts = torch.bincount(mask.flatten(), minlength=len(names))[: len(names)]
    total = max(1, int(mask.numel()))
    order = [i for i in counts.argsort(descending=True).tolist() if counts[i]]
    font = font_of(picture.size)
    rows = [(colour(i), f"{names[i]} {_percent(int(counts[i]) / total)}") for i in order]
    line = _height(font)
    column = max(_length(font, text) for _, text in rows) + 3 * line if rows else 1
    columns = max(1, picture.width // column)
    high = -(-len(rows) // columns) * int(1.5 * line) + line
    result = Image.new("RGB", (max(picture.width, column), picture.height + high), PANEL)
    result.paste(picture, (0, 0))
    pen = ImageDraw.Draw(result)
    for number, (shade, text) in enumerate(rows):
        x = line // 2 + number % columns * column
        y = picture.height + line // 2 + number // columns * int(1.5 * line)
        pen.rectangle((x, y, x + line, y + line), fill=shade)
        pen.text((x + 1.5 * line, y), text, font=font, fill=INK)
    return result


def bars(picture: Image.Image, classes: Sequence[tuple[str, float]]) -> Image.Image:
    """An image with a bar for the probability of each class beside or below it."""
    font = font_of(picture.size)
    line = _height(font)
    text = max(_length(font, name) for name, _ in classes)
    width = text + 12 * line
    beside = picture.height >= picture.width
    if not beside:
        width = max(width, picture.width)
    high = int(1.8 * line * len(classes)) + line
    size = (
        (picture.width + width, max(picture.height, high)) if beside
        else (width, picture.height + high)
    )  # fmt: skip
    result = Image.new("RGB", size, PANEL)
    result.paste(picture, (0, 0))
    left, top = (picture.width, 0) if beside else (0, picture.height)
    pen = ImageDraw.Draw(result)
    start, end = left + text + 1.5 * line, left + width - 4 * line
    for number, (name, chance) in enumerate(classes):
        y = top + line // 2 + int(1.8 * line * number)
        shade = INK if number == 0 else SOFT
        pen.text((left + line / 2, y), name, font=font, fill=shade)
        pen.rectangle((start, y + 2, end, y + line - 2), fill=(228, 230, 232))
        filled = start + max(1.0, (end - start) * chance)
        pen.rectangle((start, y + 2, filled, y + line - 2), fill=BAR if number == 0 else SOFT)
        pen.text((end + line / 2, y), _percent(chance), font=font, fill=shade)
    return result


def as_tensor(picture: Image.Image) -> Tensor:
    """Bytes (3, H, W)."""
    result: Tensor = pil_to_tensor(picture)
    return result


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def _height(font: Any) -> int:
    _left, _top, _right, bottom = font.getbbox("Ag")
    return int(bottom)


def _length(font: Any, text: str) -> int:
    return int(font.getlength(text)) + 1
