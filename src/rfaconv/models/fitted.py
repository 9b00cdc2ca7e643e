"""ResNets of ``rfaconv train`` by a name of timm: stems for small pictures, a small layout."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from rfaconv.errors import unknown_name
from rfaconv.models.resnet import _LAYOUTS
from rfaconv.surgery import convert_, where
from rfaconv.variants import OPERATORS

SMALL_WIDTHS = (16, 24, 32, 48)
SMALL_LAYOUT: dict[str, Any] = {
    "block": BasicBlock,
    "layers": (1, 1, 1, 1),
    "channels": SMALL_WIDTHS,
    # of timm's stems the deep one has a free width; fit_stem_ replaces its convolutions
    "stem_type": "deep",
    "stem_width": SMALL_WIDTHS[0] // 2,
}
LAYOUTS: dict[str, dict[str, Any]] = {"small": SMALL_LAYOUT, **_LAYOUTS}
PLAIN = "conv"


def fit_stem_(network: nn.Module, channels: int, image_size: int) -> None:
    """Takes down-sampling out of a ResNet's stem where images are too small to spare it.

    Args:
        network: a ResNet of timm, changed in place.
        channels: of the images.
        image_size: their height and width, in pixels; above 64 only a deep stem is replaced.
    """
    small_net = isinstance(network.conv1, nn.Sequential) and image_size > 64
    if image_size > 64 and not small_net:
        return
    stride = 1 if image_size <= 40 else 2
    assert isinstance(network.bn1, nn.BatchNorm2d)
    width = network.bn1.num_features
    stem = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.conv1 = stem
    if image_size <= 64:
        network.maxpool = nn.Identity()


class FittedResNet(ResNet):
    """The network that ``rfaconv train`` builds, so that ``timm.create_model`` builds it again.

    Args:
        layout: ``small`` (four BasicBlocks, 16 to 48 channels) or ``resnet18``, 34 or 50.
        operator: of the 3x3 convolution of every block; ``conv`` for the convolution.
        image_size: in pixels; up to 64 the stem keeps more of the resolution.
        bias: whether the operators have a bias, as after a warm start.
        kwargs: as of timm's ResNet.

    Shape: (B, in_chans, H, W) to (B, num_classes).

    Raises:
        InvalidArgument: an unknown layout or operator.

    Example:
        >>> import timm, torch
        >>> network = timm.create_model("fitted_resnet", operator="rfca", num_classes=7)
        >>> network(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        layout: str = "small",
        operator: str = PLAIN,
        image_size: int = 64,
        bias: bool = False,
        **kwargs: Any,
    ) -> None:
        if layout not in LAYOUTS:
            raise unknown_name("layout", layout, LAYOUTS)
        if operator not in (PLAIN, *OPERATORS):
            raise unknown_name("operator", operator, (PLAIN, *OPERATORS))
        super().__init__(**{**LAYOUTS[layout], **kwargs})
        fit_stem_(self, kwargs.get("in_chans", 3), image_size)
        if operator != PLAIN:
            basic = LAYOUTS[layout]["block"] is BasicBlock
            chosen = where.basic_block_conv1 if basic else where.bottleneck_3x3
            convert_(self, operator, where=chosen, bias=bias)


default_cfgs = generate_default_cfgs(
    {
        "fitted_resnet": {
            "url": "",
            "num_classes": 10,
            "input_size": (3, 64, 64),
            "pool_size": None,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "conv1",
            "classifier": "fc",
        }
    }
)


@register_model
def fitted_resnet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A :class:`FittedResNet`; arguments as of the class and of timm's ResNet."""
    model: nn.Module = build_model_with_cfg(FittedResNet, "fitted_resnet", pretrained, **kwargs)
    return model
