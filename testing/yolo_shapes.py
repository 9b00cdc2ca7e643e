"""Pictures of arrows and bars with labels for all tasks of ultralytics, learned in a minute."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 128
CLASSES = ("arrow", "bar")
TASKS = ("detect", "segment", "pose", "obb", "classify")


def shape(kind: int, x: float, y: float, length: float, angle: float) -> dict[str, np.ndarray]:
    """Outline, keypoints (tip or end, middle, other end) and turned box, in pixels."""
    half = length / 2
    width = 0.45 * half if kind else 0.6 * half
    if kind:
        outline = [(-half, -width), (half, -width), (half, width), (-half, width)]
    else:
        outline = [(half, 0), (-half, width), (-half, -width)]
    box = [(-half, -width), (half, -width), (half, width), (-half, width)]
    points = [(half, 0), (0, 0), (-half, 0)]
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    placed = {"outline": outline, "points": points, "box": box}
    return {name: np.array(value) @ turn + (x, y) for name, value in placed.items()}


def picture(generator: np.random.Generator, kinds: list[int]) -> tuple[Image.Image, list[dict]]:
    """One object in a corner of the picture for every kind; at most four."""
    ground = generator.integers(0, 90, 3) + generator.integers(0, 25, (SIDE, SIDE, 3))
    image = Image.fromarray(ground.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    found = []
    for kind, corner in zip(kinds, generator.permutation(4), strict=False):
        x, y = (SIDE * (0.25 + 0.5 * (corner % 2)), SIDE * (0.25 + 0.5 * (corner // 2)))
        x, y = np.array([x, y]) + generator.uniform(-4, 4, 2)
        one = shape(kind, x, y, generator.uniform(36, 50), generator.uniform(0, 2 * math.pi))
        color = tuple(int(v) for v in generator.integers(150, 255, 3))
        draw.polygon([tuple(p) for p in one["outline"]], fill=color)
        found.append({"kind": kind, **one})
    return image, found


def label(task: str, one: dict) -> str:
    """A line of ultralytics' label file."""
    low, high = one["outline"].min(0) / SIDE, one["outline"].max(0) / SIDE
    box = [*((low + high) / 2), *(high - low)]
    numbers = {
        "detect": box,
        "segment": (one["outline"] / SIDE).ravel(),
        "pose": [*box, *(one["points"] / SIDE).ravel()],
        "obb": (one["box"] / SIDE).clip(0, 1).ravel(),
    }[task]
    return " ".join([str(one["kind"]), *(f"{v:.5f}" for v in numbers)]) + "\n"


def dataset(task: str, root: Path, counts: dict[str, int]) -> Path:
    """Writes a set; returns what ultralytics takes as ``data``."""
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        for i in range(count):
            if task == "classify":
                image, _ = picture(generator, [i % 2])
                folder = root / split / CLASSES[i % 2]
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{i}.png")
                continue
            kinds = [int(k) for k in generator.integers(0, 2, generator.integers(1, 5))]
            image, found = picture(generator, kinds)
            for part in ("images", "labels"):
                (root / part / split).mkdir(parents=True, exist_ok=True)
            image.save(root / "images" / split / f"{i}.png")
            text = "".join(label(task, one) for one in found)
            (root / "labels" / split / f"{i}.txt").write_text(text, encoding="utf-8")
    if task == "classify":
        return root
    names = ", ".join(f"{i}: {name}" for i, name in enumerate(CLASSES))
    text = f"train: images/train\nval: images/val\nnames: {{{names}}}\n"
    if task == "pose":
        text += "kpt_shape: [3, 2]\nflip_idx: [0, 1, 2]\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")
    return root / "data.yaml"
