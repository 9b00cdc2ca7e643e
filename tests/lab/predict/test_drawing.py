"""Drawn findings: readable at any size, inside the picture, with names."""

from __future__ import annotations

import pytest
import torch

from rfaconv.lab.predict import Prediction
from rfaconv.lab.predict.drawing import COLOURS, PANEL, SHOWN_SIDE, colour, font_of, readable_on


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (700, 500), (30, 1200)])
def test_bars_stand_beside_or_below_the_whole_image(size: tuple[int, int]) -> None:
    image = torch.randint(0, 200, (3, *size), dtype=torch.uint8)
    classes = (("a class of a long name", 0.75), ("b", 0.2), ("c", 0.004))
    drawn = Prediction(("x",), classes=classes).draw(image)
    longer = max(size)
    factor = 1 if longer >= SHOWN_SIDE else -(-SHOWN_SIDE // longer)
    shown = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    assert torch.equal(drawn[:, : shown.shape[1], : shown.shape[2]], shown)
    assert drawn.shape[1:] > shown.shape[1:]
    blue = (drawn == torch.tensor((40, 120, 220))[:, None, None]).all(0)
    columns = blue.any(0).nonzero().flatten()
    bar = int(columns.max() - columns.min()) + 1
    grey = (drawn == torch.tensor((228, 230, 232))[:, None, None]).all(0).any(0).nonzero()
    whole = int(grey.max()) - int(columns.min()) + 1
    assert bar / whole == pytest.approx(0.75, abs=0.03)


def test_labels_are_larger_in_larger_images_and_stay_inside() -> None:
    assert font_of((2000, 3000)).size > 2 * font_of((640, 480)).size
    names = ("a long name of a class", "b")
    boxes = ((names[0], 0.9, (560.0, 0.0, 639.0, 60.0)), ("b", 0.5, (0.0, 470.0, 9.0, 479.0)))
    image = torch.full((3, 480, 640), 77, dtype=torch.uint8)
    drawn = Prediction(names, boxes=boxes).draw(image)
    assert drawn.shape == image.shape
    for index, (_, _, (x1, y1, x2, y2)) in enumerate(boxes):
        shade = (drawn == torch.tensor(colour(index))[:, None, None]).all(0)
        place = shade.nonzero()
        # more than the frame: the ground of a label
        assert len(place) > 3 * 2 * (x2 - x1 + y2 - y1)


def test_the_legend_names_the_classes_that_are_there() -> None:
    mask = torch.zeros(60, 80, dtype=torch.int64)
    mask[:30] = 2
    image = torch.full((3, 60, 80), 100, dtype=torch.uint8)
    drawn = Prediction(("ground", "none", "roof"), mask=mask).draw(image)
    below = drawn[:, 60 * (drawn.shape[2] // 80) :]
    has = [bool((below == torch.tensor(colour(i))[:, None, None]).all(0).any()) for i in range(3)]
    assert has == [True, False, True]
    assert tuple(below[:, -1, -1].tolist()) == PANEL


def test_colours_differ() -> None:
    shades = [colour(index) for index in range(60)]
    assert len(set(shades)) == 60 and shades[: len(COLOURS)] == list(COLOURS)
    assert readable_on((255, 255, 0)) == (0, 0, 0) and readable_on((20, 20, 90)) == (255,) * 3
