"""The layers of a conversion without its numbers, for weights that were saved of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.surgery.convert import convert_
from rfaconv.surgery.where import basic_block_conv1, bottleneck_3x3


def backbone_of(network: Any) -> nn.Module:
    """The timm network inside a detector or a segmenter."""
    part: nn.Module = network.backbone.body if hasattr(network, "backbone") else network.encoder
    return part


def converted_structure_(network: nn.Module, operator: str, state: Mapping[str, Tensor]) -> None:
    """Gives the backbone the layers of a conversion that keeps outputs, for ``state`` to load."""
    where = basic_block_conv1 | bottleneck_3x3
    convert_(backbone_of(network), operator, where=where, init="fresh")
    add_biases_(network, state)


def add_biases_(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """A conversion that keeps outputs adds a bias where inputs of a layer may be negative."""
    for name, module in network.named_modules():
        bias = state.get(f"{name}.bias")
        if bias is not None and isinstance(module, nn.Conv2d) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros_like(bias))
