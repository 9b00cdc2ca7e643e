"""Images that change with their boxes or masks: what is in a box, or under a mask, stays there."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from rfaconv.lab.data.scenes import GREY, change_boxes, change_masks
from rfaconv.lab.recipes import Detect, Segment

NAMES = ("scale-jitter", "crop", "photometric")
IGNORED = 255


def scene() -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """A white rectangle in the dark, its box and its mask."""
    image, mask = torch.full((3, 40, 60), 0.1), torch.zeros(40, 60, dtype=torch.int64)
    image[:, 10:30, 20:45] = 1.0
    mask[10:30, 20:45] = 1
    target = {"boxes": torch.tensor([[20.0, 10.0, 45.0, 30.0]]), "labels": torch.tensor([3]),
              "image_id": torch.tensor([7])}  # fmt: skip
    return image, target, mask


@pytest.mark.parametrize("name", ["scale-jitter", "crop"])
def test_a_box_stays_around_its_object(name: str) -> None:
    image, target, _ = scene()
    torch.manual_seed(0)
    seen = set()
    for _ in range(40):
        changed, found = change_boxes(image, target, [name])
        assert found["image_id"].tolist() == [7]
        assert len(found["boxes"]) == len(found["labels"]) <= 1
        assert name == "crop" or changed.shape == image.shape
        if len(found["boxes"]) == 0:
            continue
        assert found["labels"].tolist() == [3]
        x1, y1, x2, y2 = found["boxes"][0].round().long().tolist()
        bright = changed[0] > 0.6
        ys, xs = bright.nonzero().unbind(1)
        # a pixel on each side is mixed by scaling
        for got, expected in zip((x1, y1, x2, y2), (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1),
                                 strict=True):  # fmt: skip
            assert abs(got - int(expected)) <= 2
        seen.add((x1, y1, x2, y2))
    assert len(seen) > 5


@pytest.mark.parametrize("name", ["scale-jitter", "crop"])
def test_a_mask_stays_on_its_object(name: str) -> None:
    image, _, mask = scene()
    torch.manual_seed(0)
    images, masks = change_masks(image.repeat(8, 1, 1, 1), mask.repeat(8, 1, 1), [name], IGNORED)
    assert images.shape == (8, 3, 40, 60) and masks.shape == (8, 40, 60)
    assert type(images) is type(masks) is torch.Tensor
    assert set(masks.unique().tolist()) <= {0, 1, IGNORED}
    inside, outside = images[:, 0][masks == 1], images[:, 0][masks == 0]
    assert float((inside > 0.5).float().mean()) > 0.9
    assert float((outside < 0.5).float().mean()) > 0.9
    assert torch.allclose(images[:, 0][masks == IGNORED], torch.tensor(GREY))
    assert not torch.equal(masks[0], masks[1])


def test_photometry_leaves_the_labels() -> None:
    image, target, mask = scene()
    torch.manual_seed(0)
    changed, found = change_boxes(image, target, ["photometric"])
    assert torch.equal(found["boxes"], target["boxes"]) and not torch.equal(changed, image)
    images, masks = change_masks(image[None], mask[None], ["photometric"], IGNORED)
    assert torch.equal(masks[0], mask) and not torch.equal(images[0], image)


def test_one_seed_gives_one_change() -> None:
    image, target, mask = scene()
    for change in (lambda: change_boxes(image, target, NAMES)[0],
                   lambda: change_masks(image[None], mask[None], NAMES, IGNORED)[0]):  # fmt: skip
        torch.manual_seed(5)
        first = change()
        torch.manual_seed(5)
        assert torch.equal(first, change())


@pytest.mark.parametrize("kind", [Detect, Segment])
def test_names_in_recipes(kind: type) -> None:
    more = {"classes": ("a", "b")}
    assert kind(data=more).data.augmentations == ("hflip",)
    made = kind(data={**more, "augment": "none+crop+photometric"})
    assert made.data.augmentations == ("none", "crop", "photometric")
    for wrong in ("crop", "hflip+mixup", "hflip+crop+crop", ""):
        with pytest.raises(ValidationError, match="augment"):
            kind(data={**more, "augment": wrong})
