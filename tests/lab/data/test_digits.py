from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, load_data


def test_split_is_a_partition_in_equal_shares() -> None:
    data = load_data(DataSpec("digits"))
    assert (len(data.train), len(data.val)) == (1347, 450)
    counts = torch.bincount(data.val.labels)
    assert counts.min() >= 43
    assert counts.max() <= 47
    images, _ = data.train.__getitems__(list(range(len(data.train))))
    others, _ = data.val.__getitems__(list(range(len(data.val))))
    both = torch.cat([images, others]).flatten(1).tolist()
    every = np.round(load_digits().images * 255 / 16).astype(int).reshape(-1, 64).tolist()
    assert sorted(both) == sorted(every)


def test_statistics_are_those_of_the_training_images() -> None:
    data = load_data(DataSpec("digits"))
    images, _ = data.train.__getitems__(list(range(len(data.train))))
    scaled = images.double() / 255
    assert data.mean == pytest.approx([scaled.mean().item()])
    assert data.std == pytest.approx([scaled.std(correction=0).item()])
    assert not data.hflip


def test_resized_and_limited() -> None:
    data = load_data(DataSpec("digits", image_size=16, limit=57))
    images, labels = data.train.__getitems__(list(range(57)))
    assert images.shape == (57, 1, 16, 16)
    assert len(data.train) == 57
    counts = torch.bincount(labels, minlength=10)
    assert set(counts.tolist()) == {5, 6}
    assert data.digest != load_data(DataSpec("digits", image_size=16, limit=58)).digest


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "cifar11"}, r"data: expected one of .*did you mean cifar10"),
        ({"name": "folder:"}, "data: expected a place after folder:, got folder:"),
        ({"image_size": 2}, "image_size: expected pixels from 4 to 1024, got 2"),
        ({"limit": 0}, "limit: expected one image or more, got 0"),
    ],
)
def test_bad_specs(spec: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        DataSpec(**spec)  # type: ignore[arg-type]
