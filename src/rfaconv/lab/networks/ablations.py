"""What the parts of the operator bring: features without a gate, attention on patches, kernels."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import UnfoldRFAConv2d
from rfaconv.nn._feature import FeatureConv2d

_LAYERS: dict[str, type[nn.Conv2d]] = {"features": FeatureConv2d, "unfold": UnfoldRFAConv2d}


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
