"""The yardstick of stock torch modules with the state of one of our layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.bench.published import PUBLISHED


def published_twin(layer: Any) -> nn.Module:
    """Returns ``Conv2d``, ``BatchNorm2d`` and ``Linear`` composed to what the layer computes."""
    attended = layer.variant
    plain: Any = PUBLISHED[attended](
        layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
    )
    with torch.no_grad():
        _copy(plain.conv, layer)
        plain.generate[0].weight.copy_(layer.feature_weight)
        plain.generate[1].load_state_dict(layer.feature_norm.state_dict())
        if attended == "rfa":
            plain.get_weight[1].weight.copy_(layer.attention_weight)
        elif attended == "rfcbam":
            _copy(plain.squeeze[0], layer.se.fc1)
            _copy(plain.squeeze[2], layer.se.fc2)
            plain.get_weight[0].weight.copy_(layer.spatial_weight)
        else:
            attention = layer.attention
            plain.reduce[1].load_state_dict(attention.bn1.state_dict())
            _copy(plain.reduce[0], attention.conv1)
            _copy(plain.row, attention.conv_h)
            _copy(plain.column, attention.conv_w)
    return plain.to(layer.weight.dtype).train(layer.training)  # type: ignore[no-any-return]


def _copy(target: Any, source: Any) -> None:
    bias: Tensor | None = source.bias
    target.weight.copy_(source.weight)
    if bias is not None:
        target.bias.copy_(bias)
