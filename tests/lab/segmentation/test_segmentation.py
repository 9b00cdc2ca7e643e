"""Masks from folders and VOC; networks with the operators; mean intersection over union."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.data.masks import IGNORED, read_masks, read_voc_masks
from rfaconv.lab.networks.segmenters import build_segmenter, scores
from rfaconv.lab.training.segmenter import figures_of, overlap_of
from rfaconv.nn import CONVOLUTIONS


@pytest.fixture
def halves(tmp_path):
    """Pictures whose bright half is class 1; a corner is not labelled."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for index in range(8):
        mask = np.zeros((40, 48), np.uint8)
        mask[:, 10 + 4 * index :] = 1
        picture = np.repeat(mask[:, :, None] * 180 + 30, 3, axis=2)
        mask[:4, :4] = 2
        Image.fromarray(picture).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    return tmp_path


def test_values_behind_the_classes_are_ignored_and_counted(halves):
    found = read_masks(halves / "images", halves / "masks", ["dark", "bright"], strict=True)
    image, mask = found[0]
    assert image.shape == (3, 40, 48) and mask.shape == (40, 48)
    assert (mask[:4, :4] == IGNORED).all() and sorted(mask.unique().tolist()) == [0, 1, IGNORED]
    assert found.unknown == {2: 8 * 16}


def test_bad_masks(halves):
    (halves / "masks/0.png").unlink()
    Image.new("L", (5, 5)).save(halves / "masks/1.png")
    (halves / "images/2.png").write_bytes(b"")
    Image.new("L", (48, 40), 77).save(halves / "masks/3.png")
    found = read_masks(halves / "images", halves / "masks", ["dark", "bright"])
    assert len(found) == 5 and len(found.problems) == 4
    assert found.unknown[77] == 48 * 40
    with pytest.raises(RFAConvError, match="4 problems"):
        read_masks(halves / "images", halves / "masks", ["dark", "bright"], strict=True)
    with pytest.raises(InvalidArgument, match="masks: expected a folder"):
        read_masks(halves / "images", halves / "none", ["dark"])


def test_voc_masks_are_palette_indices(tmp_path):
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "JPEGImages/a.jpg")
    mask = Image.fromarray(np.full((6, 8), 1, np.uint8), mode=None).convert("P")
    mask.putpalette([0, 0, 0, 128, 0, 0])
    mask.save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a\n", encoding="utf-8")
    assert read_voc_masks(tmp_path, "val", ["background", "aeroplane"])[0][1].unique().tolist() == [
        1
    ]
    with pytest.raises(InvalidArgument, match="split"):
        read_voc_masks(tmp_path, "train", ["background"])


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
@pytest.mark.parametrize(
    ("kind", "stride"), [("unet", None), ("deeplabv3plus", 8), ("deeplabv3plus", 16)]
)
def test_networks(operator, kind, stride):
    network = build_segmenter(kind, f"{operator}_resnet18", 5, output_stride=stride).eval()
    layers = [m for m in network.modules() if isinstance(m, CONVOLUTIONS[operator])]
    assert len(layers) == 8
    if stride:
        # the later stages are dilated instead of strided, operators included
        assert max(m.dilation[0] for m in layers) == 32 // stride
    with torch.no_grad():
        assert scores(network, torch.rand(1, 3, 60, 80)).shape == (1, 5, 60, 80)


def test_bad_arguments():
    with pytest.raises(InvalidArgument, match="did you mean unet"):
        build_segmenter("unett", "resnet18", 2)
    with pytest.raises(InvalidArgument, match="output_stride: expected 8 or 16"):
        build_segmenter("deeplabv3plus", "resnet18", 2, output_stride=4)
    with pytest.raises(InvalidArgument, match="output_stride: expected None with unet"):
        build_segmenter("unet", "resnet18", 2, output_stride=8)


def test_a_class_that_neither_occurs_nor_is_found_does_not_count():
    truth, found = torch.zeros(1, 8, 8, dtype=torch.long), torch.zeros(1, 8, 8, dtype=torch.long)
    truth[0, 0], found[0, 1], truth[0, 7] = 1, 1, IGNORED
    overlap = overlap_of(4)
    overlap.update(found, truth)
    figures = figures_of(overlap, 4)
    # of 56 pixels 40 are 0 in both and 8 in one; none of the 16 of class 1 in both
    assert figures["per_class"] == pytest.approx([40 / 56, 0.0, None, None])
    assert figures["miou"] == pytest.approx(20 / 56)
    overlap = overlap_of(2)
    overlap.update(found, truth.fill_(IGNORED))
    assert figures_of(overlap, 2) == {"miou": 0.0, "per_class": [None, None]}
