"""The operators as compositions of torch layers, from the published formulas and nothing of ours.

:func:`composed` reads a layer of the library at the very moment it is called and calls its children
as modules, as a network of ``Conv2d`` and ``BatchNorm2d`` would: the oracle for every way in which
people hold the weights of a layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PADDING_MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def composed(layer: Any, x: Tensor) -> Tensor:
    """The output of a two-dimensional operator layer for x (B, C, H, W).

    Every parameter is read once, as by ``Conv2d``: a look may change a parametrized one.
    """
    kind = type(layer)
    for name, formula in _FORMULAS.items():
        if any(base.__name__ == name for base in kind.__mro__):
            return formula(layer, x, layer.weight)
    raise TypeError(f"no operator: {kind.__name__}")


def composed_network(network: nn.Module) -> nn.Module:
    """The network itself, with every operator in it computed by :func:`composed`."""
    names = tuple(_FORMULAS)
    for module in network.modules():
        if any(base.__name__ in names for base in type(module).__mro__):
            module.forward = _Composed(module)  # type: ignore[assignment]
    return network


class _Composed:
    """A forward that goes with its layer, also through a pickle."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return composed(self.layer, x)


def _padded(layer: Any, x: Tensor) -> tuple[Tensor, Any]:
    """The input and the padding that is left for a convolution."""
    padding = layer.padding
    if layer.padding_mode == "zeros":
        return x, padding
    vertical, horizontal = padding
    amounts = (horizontal, horizontal, vertical, vertical)
    return F.pad(x, amounts, mode=_PADDING_MODES[layer.padding_mode]), 0


def _convolved(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    x, padding = _padded(layer, x)
    return F.conv2d(x, weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups)


def _features(layer: Any, x: Tensor) -> Tensor:
    """``relu(norm(G x))`` (B, C * T, H, W)."""
    x, padding = _padded(layer, x)
    channels = x.shape[1]
    z = F.conv2d(
        x, layer.feature_weight, layer.feature_bias, layer.stride, padding, layer.dilation, channels
    )
    return layer.feature_norm(z).relu()


def _side_by_side(weight: Tensor, f: Tensor) -> Tensor:
    """(B, C * T, H, W) to (B, C, kh * H, kw * W): the taps of a window side by side."""
    kh, kw = weight.shape[2:]
    batch, _, height, width = f.shape
    f = f.reshape(batch, -1, kh, kw, height, width).permute(0, 1, 4, 2, 5, 3)
    return f.reshape(batch, -1, height * kh, width * kw)


def _projected(layer: Any, enlarged: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(enlarged, weight, layer.bias, stride=weight.shape[2:], groups=layer.groups)


def _rfa(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    features = _features(layer, x)
    padded, padding = _padded(layer, x)
    channels, taps = x.shape[1], weight.shape[2:].numel()
    mean = F.conv2d(
        padded,
        padded.new_full((channels, 1, *weight.shape[2:]), 1 / taps),
        None,
        layer.stride,
        padding,
        layer.dilation,
        channels,
    )
    logits = F.conv2d(mean, layer.attention_weight, groups=channels)
    gate = logits.unflatten(1, (channels, -1)).softmax(2).flatten(1, 2)
    return _projected(layer, _side_by_side(weight, features * gate), weight)


def _rfcbam(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    enlarged = _side_by_side(weight, _features(layer, x))
    channel = layer.se.fc2(layer.se.fc1(x.mean((2, 3))).relu()).sigmoid()
    maps = torch.cat([enlarged.amax(1, keepdim=True), enlarged.mean(1, keepdim=True)], 1)
    spatial = layer.spatial_weight
    pixel = F.conv2d(maps, spatial, padding=spatial.shape[-1] // 2)
    return _projected(layer, enlarged * channel[:, :, None, None] * pixel.sigmoid(), weight)


def _coordinate(attention: Any, x: Tensor) -> Tensor:
    rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
    hidden = F.hardswish(attention.bn1(attention.conv1(torch.cat([rows, columns], 2))))
    row, column = hidden.split([x.shape[2], x.shape[3]], 2)
    gate = attention.conv_h(row).sigmoid() * attention.conv_w(column).sigmoid().transpose(2, 3)
    return x * gate


def _rfca(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    enlarged = _coordinate(layer.attention, _side_by_side(weight, _features(layer, x)))
    return _projected(layer, enlarged, weight)


def _channel(attention: Any, x: Tensor) -> Tensor:
    def mlp(values: Tensor) -> Tensor:
        return attention.fc2(attention.fc1(values).relu())

    return (mlp(x.amax((2, 3), keepdim=True)) + mlp(x.mean((2, 3), keepdim=True))).sigmoid()


def _cam(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    return _convolved(layer, x * _channel(layer.attention, x), weight)


def _cbam(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    x = x * _channel(layer.attention, x)
    maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
    return _convolved(layer, x * layer.attention.spatial(maps).sigmoid(), weight)


def _ca(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    return _convolved(layer, _coordinate(layer.attention, x), weight)


def _unfold(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    padded, padding = _padded(layer, x)
    batch, channels = x.shape[:2]
    taps = weight.shape[2:].numel()
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            padded.shape[2:],
            padding if isinstance(padding, tuple) else (padding, padding),
            layer.dilation,
            weight.shape[2:],
            layer.stride,
            strict=True,
        )
    )
    patches = F.unfold(padded, weight.shape[2:], layer.dilation, padding, layer.stride)
    patches = patches.view(batch, channels * taps, height, width)
    logits = F.conv2d(patches, layer.attention_weight, layer.attention_bias, groups=channels)
    logits = layer.attention_norm(logits)
    gate = logits.unflatten(1, (channels, taps)).softmax(2).flatten(1, 2)
    return _projected(layer, _side_by_side(weight, patches * gate), weight)


_FORMULAS = {
    "RFAConv2d": _rfa,
    "RFCBAMConv2d": _rfcbam,
    "RFCAConv2d": _rfca,
    "CAMConv2d": _cam,
    "CBAMConv2d": _cbam,
    "CAConv2d": _ca,
    "UnfoldRFAConv2d": _unfold,
}
