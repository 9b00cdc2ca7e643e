from __future__ import annotations

import torch

from rfaconv.lab.data import Normalize, RandomHorizontalFlip, RandomShift, augmentation


def test_shift_moves_each_image_as_a_whole() -> None:
    images = torch.randint(1, 256, (32, 2, 7, 5), dtype=torch.uint8)
    moved = RandomShift(2)(images)
    offsets = set()
    for before, after in zip(images, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(after, loop_shift(before, dy, dx))
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 8


def loop_shift(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    result = torch.zeros_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if 0 <= y + dy < image.shape[1] and 0 <= x + dx < image.shape[2]:
                result[:, y, x] = image[:, y + dy, x + dx]
    return result


def test_mirror_takes_about_half() -> None:
    images = torch.arange(200 * 4).reshape(200, 1, 1, 4)
    mirrored = RandomHorizontalFlip()(images)
    changed = (mirrored != images).flatten(1).any(1)
    assert 60 < int(changed.sum()) < 140
    assert torch.equal(mirrored[changed], images[changed].flip(-1))


def test_normalize() -> None:
    images = torch.randint(0, 256, (3, 2, 4, 5), dtype=torch.uint8)
    mean, std = torch.tensor([0.2, 0.6]), torch.tensor([0.1, 0.3])
    expected = (images / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(Normalize(mean.tolist(), std.tolist())(images), expected)


def test_digits_are_not_mirrored() -> None:
    kinds = [type(module).__name__ for module in augmentation(8, hflip=False)]
    assert kinds == ["RandomShift"]
