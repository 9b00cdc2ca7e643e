"""The yardstick computes what the layers compute: same weights, same output."""

from __future__ import annotations

import pytest
import torch

from rfaconv.bench.published import PUBLISHED, enlarged
from rfaconv.bench.sides import LAYERS


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("operator", list(PUBLISHED))
def test_yardstick_equals_layer(operator: str, stride: int, training: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[operator](8, 6, 3, stride, backend="reference")
    plain = PUBLISHED[operator](8, 6, 3, stride)
    plain.conv.weight.data.copy_(layer.weight)
    plain.conv.bias.data.copy_(layer.bias)
    plain.generate[0].weight.data.copy_(layer.feature_weight)
    plain.generate[1].load_state_dict(layer.feature_norm.state_dict())
    if operator == "rfa":
        plain.get_weight[1].weight.data.copy_(layer.attention_weight)
    elif operator == "rfcbam":
        plain.squeeze[0].weight.data.copy_(layer.se.fc1.weight)
        plain.squeeze[2].weight.data.copy_(layer.se.fc2.weight)
        plain.get_weight[0].weight.data.copy_(layer.spatial_weight)
    else:
        attention = layer.attention
        plain.reduce[0].load_state_dict(attention.conv1.state_dict())
        plain.reduce[1].load_state_dict(attention.bn1.state_dict())
        plain.row.load_state_dict(attention.conv_h.state_dict())
        plain.column.load_state_dict(attention.conv_w.state_dict())
    x = torch.randn(3, 8, 13, 10)
    layer.train(training)
    plain.train(training)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)


def test_enlarged_map_is_row_major_inside_a_tile() -> None:
    values = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 1, 9, 2, 2)
    expected = torch.arange(9.0).view(3, 3).repeat(2, 2)
    assert torch.equal(enlarged(values, 3)[0, 0], expected)
