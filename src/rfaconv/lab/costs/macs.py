"""Parameters and multiply-adds of a network, layer by layer, and the attention's share of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.complexity import operator_cost
from rfaconv.lab.networks.ablations import ValueRFAConv2d
from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d
from rfaconv.nn._feature import FeatureConv2d


@dataclass(frozen=True)
class LayerCost:
    """One layer that computes: a convolution, an operator or a linear layer.

    Attributes:
        name: as in ``named_modules``.
        kind: class name.
        output: shape of its output for one image.
        parameters: all of the layer.
        macs: multiply-adds for one image.
        attention_parameters: those that a plain convolution of the same size would not have.
        attention_macs: likewise.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int
    attention_parameters: int
    attention_macs: int


@dataclass(frozen=True)
class NetworkCost:
    """A network's cost for one image; ``macs`` are of convolutions, operators and linear layers."""

    layers: tuple[LayerCost, ...]
    parameters: int

    @property
    def macs(self) -> int:
        """Multiply-adds in all."""
        return sum(layer.macs for layer in self.layers)

    @property
    def attention_parameters(self) -> int:
        """Parameters that plain convolutions would not have."""
        return sum(layer.attention_parameters for layer in self.layers)

    @property
    def attention_macs(self) -> int:
        """Multiply-adds that plain convolutions would not have."""
        return sum(layer.attention_macs for layer in self.layers)


def network_cost(network: nn.Module, image: Any) -> NetworkCost:
    """Counts parameters and multiply-adds of ``network`` on one image.

    Args:
        network: any network; it runs once, in evaluation mode.
        image: (C, H, W), or what the network takes: a batch of one, or a list with an image.

    Example:
        >>> network_cost(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)), (3, 5, 5)).macs
        972
    """
    layers: list[LayerCost] = []
    operators = (*CONVOLUTIONS.values(), UnfoldRFAConv2d, FeatureConv2d)
    inside = {
        id(child)
        for module in network.modules()
        if isinstance(module, operators)
        for child in module.modules()
        if child is not module
    }
    handles = []
    for name, module in network.named_modules():
        if id(module) in inside or not isinstance(module, nn.Conv2d | nn.Linear):
            continue

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor, name: str = name) -> None:
            layers.append(_layer_cost(name, layer, inputs[0], y, isinstance(layer, operators)))

        handles.append(module.register_forward_hook(hook))
    parameter = next(network.parameters())
    if isinstance(image, tuple):
        image = torch.zeros(1, *image, device=parameter.device, dtype=parameter.dtype)
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(image)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return NetworkCost(tuple(layers), count_parameters(network))


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(math.prod(parameter.shape) for parameter in module.parameters())


def _layer_cost(name: str, layer: Any, x: Tensor, y: Tensor, operator: bool) -> LayerCost:
    # every weight of a convolution is used once per output pixel, of a linear layer once per row
    rows = y.shape[:-1] if isinstance(layer, nn.Linear) else (y.shape[0], *y.shape[2:])
    plain = layer.weight.numel() * math.prod(rows)
    own = layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel())
    total = plain
    if isinstance(layer, FeatureConv2d):
        # of every channel and output pixel: every tap, and every logit, from all taps
        maps = 2 if isinstance(layer, ValueRFAConv2d) else 1
        total += maps * layer.in_channels * math.prod(layer.kernel_size) ** 2 * y[:, 0].numel()
    elif operator:
        total = operator_cost(layer, x.shape, y.shape).macs
    parameters = count_parameters(layer)
    return LayerCost(
        name=name,
        kind=type(layer).__name__,
        output=tuple(y.shape[1:]),
        parameters=parameters,
        macs=total,
        attention_parameters=parameters - own,
        attention_macs=total - plain,
    )
