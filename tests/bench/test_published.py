"""The yardstick computes what the layers compute: same weights, same output."""

from __future__ import annotations

import pytest
import torch
from testing.published import published_twin

from rfaconv.bench.published import PUBLISHED, enlarged
from rfaconv.bench.sides import LAYERS


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("operator", list(PUBLISHED))
def test_yardstick_equals_layer(operator: str, stride: int, training: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[operator](8, 6, 3, stride, backend="reference")
    plain = published_twin(layer)
    x = torch.randn(3, 8, 13, 10)
    layer.train(training)
    plain.train(training)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)


def test_enlarged_map_is_row_major_inside_a_tile() -> None:
    values = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 1, 9, 2, 2)
    expected = torch.arange(9.0).view(3, 3).repeat(2, 2)
    assert torch.equal(enlarged(values, 3)[0, 0], expected)
