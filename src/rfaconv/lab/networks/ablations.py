"""What the parts of the operator bring: features without a gate, other gates, kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import UnfoldRFAConv2d
from rfaconv.nn._feature import FeatureConv2d
from rfaconv.reference.features import linear_features, normed_features


class ValueRFAConv2d(FeatureConv2d):
    """RFAConv whose logits come from the values of the patch, not from their mean.

    ``y = K (softmax_j(A[c,j] u[c]) * relu(BatchNorm(G[c] u[c]))) + bias`` for the patch u under
    the kernel: the logits of a channel are a convolution with T outputs, where
    :class:`rfaconv.RFAConv2d` has ``w[c,j] * mean(u[c])``. The paper says that its attention
    lets the entries of a window interact; its code does not. An experiment, in plain PyTorch.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.
    """

    def make_attention(self, device: Any, dtype: Any) -> None:
        """Makes A (C * T, 1, *kernel)."""
        empty = torch.empty_like(self.feature_weight, device=device, dtype=dtype)
        self.attention_weight = nn.Parameter(empty)
        self.reset_attention()

    def reset_attention(self) -> None:
        """As a convolution's weight."""
        nn.init.kaiming_uniform_(self.attention_weight, a=math.sqrt(5))

    def _gates(self, input: Tensor, field: Any) -> Tensor:
        return self._softmax(field.x)

    def _softmax(self, x: Tensor) -> Tensor:
        logits = linear_features(x, self.attention_weight, self.inner_window)
        gates: Tensor = logits.unflatten(1, (self.in_channels, -1)).softmax(2)
        return gates

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, Ho, Wo)."""
        x, window = self.prepare(input), self.inner_window
        linear = linear_features(x, self.feature_weight, window, self.feature_bias)
        features = normed_features(self.feature_norm(linear), window)
        # flat before the product, as in the reference's projection
        panel = features.flatten(1, 2) * self._softmax(x).flatten(1, 2)
        matrix = self.weight.flatten(1)[..., None, None]
        return F.conv2d(panel, matrix, self.bias, groups=self.groups)


_LAYERS: dict[str, type[nn.Conv2d]] = {
    "features": FeatureConv2d, "unfold": UnfoldRFAConv2d, "rfa-values": ValueRFAConv2d,
}  # fmt: skip


def ablate_(network: nn.Module, name: str) -> None:
    """Replaces the convolution of every residual block by the layer of an ablation, in place."""
    for block, key, layer in _some_convolutions(network):
        setattr(block, key, _like(layer, _LAYERS[name], layer.kernel_size[0]))


def resize_kernels_(network: nn.Module, kernel_size: int) -> None:
    """Gives the convolution of every residual block a new kernel, freshly initialised, in place."""
    for block, key, layer in _some_convolutions(network):
        fresh = _like(layer, nn.Conv2d, kernel_size)
        nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
        setattr(block, key, fresh)


def _some_convolutions(network: nn.Module) -> list[tuple[nn.Module, str, nn.Conv2d]]:
    found = list(_convolutions(network))
    if not found:
        raise InvalidArgument("model", "a ResNet, for ablations", type(network).__name__)
    return found


def _convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """The convolutions that the comparisons replace: the first of a basic block, the 3x3 else."""
    from timm.models.resnet import BasicBlock, Bottleneck

    for block in list(network.modules()):
        if isinstance(block, BasicBlock | Bottleneck):
            key = "conv1" if isinstance(block, BasicBlock) else "conv2"
            layer = getattr(block, key)
            assert isinstance(layer, nn.Conv2d)
            yield block, key, layer


def _like(layer: nn.Conv2d, kind: type[nn.Conv2d], kernel_size: int) -> nn.Conv2d:
    return kind(
        layer.in_channels,
        layer.out_channels,
        kernel_size,
        (layer.stride[0], layer.stride[1]),
        kernel_size // 2,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
