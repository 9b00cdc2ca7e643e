"""ResNets with an operator in every residual block, for timm.

``{operator}_resnet18`` and ``{operator}_resnet34`` have it in place of ``conv1`` of every
BasicBlock, as published; ``{operator}_resnet50``, which the paper did not train, in place of
``conv2`` of every Bottleneck. State-dict keys are those of timm and torchvision; published
checkpoints load as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from rfaconv.nn import CONVOLUTIONS
from rfaconv.surgery import convert_, where
from rfaconv.variants import OPERATORS

_LAYOUTS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
}

MODEL_NAMES = tuple(f"{operator}_{layout}" for operator in OPERATORS for layout in _LAYOUTS)
"""Names for ``timm.create_model``."""


class AttentionResNet(ResNet):
    """timm's ResNet with an operator in place of one convolution per residual block.

    Args:
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``.
        args: as of timm's ResNet.
        kwargs: as of timm's ResNet, for example ``num_classes``, ``in_chans``, ``output_stride``.

    Shape: (B, in_chans, H, W) to (B, num_classes).

    Raises:
        InvalidArgument: if the operator is unknown.

    Example:
        >>> import torch
        >>> from timm.models.resnet import BasicBlock
        >>> network = AttentionResNet("rfca", BasicBlock, (1, 1, 1, 1), num_classes=7)
        >>> network(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 7])

    Source: paper, section 4, classification.
    """

    def __init__(self, operator: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = where.basic_block_conv1 | where.bottleneck_3x3
        convert_(self, operator, where=chosen, bias=True)
        initialize_(self)

    def init_weights(self, zero_init_last: bool = True) -> None:
        """Initialises every layer as timm does, and the operators as :func:`initialize_` does."""
        super().init_weights(zero_init_last)
        initialize_(self)


def initialize_(model: nn.Module) -> nn.Module:
    """Initialises the operators of a network as the published training does, in place.

    Every convolution weight, those of the attention and the features included, is drawn from a
    normal distribution with variance ``2 / fan_out``; PyTorch's fan_out does not count groups.

    Args:
        model: any network, or an operator.

    Returns:
        The same model.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> initialize_(RFAConv2d(64, 64, 3)).feature_weight.shape
        torch.Size([576, 1, 3, 3])

    Source: paper, section 4.1; published classification networks.
    """
    kinds = tuple(CONVOLUTIONS.values())
    for module in model.modules():
        if isinstance(module, kinds):
            for parameter in module.parameters():
                if parameter.dim() == 4:
                    nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
    return model


_CONFIG: dict[str, Any] = {
    "url": "",
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "interpolation": "bilinear",
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": "conv1",
    "classifier": "fc",
    "license": "apache-2.0",
}

default_cfgs = generate_default_cfgs({name: dict(_CONFIG) for name in MODEL_NAMES})


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    operator, _, layout = name.partition("_")

    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        settings = {**_LAYOUTS[layout], "operator": operator, **kwargs}
        model: nn.Module = build_model_with_cfg(AttentionResNet, name, pretrained, **settings)
        return model

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{layout} with the operator {operator!r}; arguments as of timm's ResNet."
    return build


for _name in MODEL_NAMES:
    setattr(sys.modules[__name__], _name, register_model(_entrypoint(_name)))
