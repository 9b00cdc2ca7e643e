"""torchvision's detectors on timm backbones, those with the operators included."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from rfaconv.errors import InvalidArgument, RFAConvError, unknown_name

DETECTORS = ("retinanet", "fcos", "fasterrcnn")
"""Single-stage with anchors, single-stage without, two-stage."""


class PyramidBackbone(nn.Module):
    """Feature maps of a timm network, joined by a feature pyramid.

    Args:
        name: a timm model that takes ``features_only``, such as ``rfa_resnet18``.
        indices: which of its maps, from the largest on.
        channels: of every map of the pyramid.
        extra: makes the levels above the last.
        width: factor of the backbone's channels; other than 1 only with a ResNet.

    Shape: (B, 3, H, W) to a mapping of level names to (B, channels, h, w).
    """

    def __init__(
        self, name: str, indices: tuple[int, ...], channels: int, extra: Any, width: float = 1.0
    ) -> None:
        import timm
        from torchvision.ops import FeaturePyramidNetwork

        from rfaconv.models.width import narrowed

        super().__init__()
        body: Any = timm.create_model(
            name, features_only=True, out_indices=indices, **narrowed(name, width)
        )
        self.body = body
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), channels, extra)
        self.out_channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the maps of all levels."""
        maps = OrderedDict((str(i), m) for i, m in enumerate(self.body(x)))
        result: dict[str, Tensor] = self.fpn(maps)
        return result


def build_detector(
    kind: str,
    backbone: str,
    classes: int,
    *,
    size: int = 320,
    channels: int = 128,
    width: float = 1.0,
) -> nn.Module:
    """A detector of torchvision (BSD) on a backbone of timm.

    In training it takes a list of images (3, H, W) in [0, 1] and a list of targets and returns a
    mapping of losses; in evaluation it returns a list of mappings of ``boxes``, ``labels`` (from 1)
    and ``scores``.

    Args:
        kind: ``retinanet``, ``fcos`` or ``fasterrcnn``.
        backbone: a timm model, such as ``resnet18`` or ``rfa_resnet18``.
        classes: number of classes, the background not counted.
        size: length in pixels to which the shorter side of an image is scaled.
        channels: of the feature pyramid, a multiple of 32.
        width: factor of the backbone's channels; other than 1 only with a ResNet.

    Raises:
        InvalidArgument: an unknown name, or a number that does not fit.

    Source: paper, section 4, detection; He et al. for the pyramid.
    """
    import timm
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

    import rfaconv.models  # noqa: F401  # registers the backbones

    if kind not in DETECTORS:
        raise unknown_name("kind", kind, DETECTORS)
    if not timm.is_model(backbone):
        raise InvalidArgument("backbone", "the name of a timm model", repr(backbone))
    if classes < 1:
        raise InvalidArgument("classes", "1 or more", classes)
    if channels % 32 or (kind == "fcos" and channels < 64):
        # FCOS norms its head in 32 groups, and the smallest map may have one pixel
        raise InvalidArgument("channels", "a multiple of 32, for fcos from 64 on", channels)
    limits = {"min_size": size, "max_size": 2 * size}
    if kind == "fasterrcnn":
        net = PyramidBackbone(backbone, (1, 2, 3, 4), channels, LastLevelMaxPool(), width)
        return _checked(FasterRCNN(net, classes + 1, **limits))
    extra = LastLevelP6P7(channels, channels)
    net = PyramidBackbone(backbone, (2, 3, 4), channels, extra, width)
    single_stage = RetinaNet if kind == "retinanet" else FCOS
    return _checked(single_stage(net, classes + 1, **limits))


def _checked(detector: Any) -> nn.Module:
    detector.transform.register_forward_pre_hook(_refuse_narrow)
    checked: nn.Module = detector
    return checked


def _refuse_narrow(transform: nn.Module, inputs: tuple[Any, ...]) -> None:
    """An image of which nothing would be left when its longer side is scaled down."""
    limits: Any = transform
    for image in inputs[0]:
        high, wide = image.shape[-2:]
        check_shape(high, wide, limits.min_size[0], limits.max_size)


def check_shape(high: int, wide: int, least: int, most: int) -> float:
    """The factor by which an image is scaled: its shorter side to ``least``, none above ``most``.

    Raises:
        RFAConvError: nothing would be left of its shorter side.
    """
    scale = min(least / min(high, wide), most / max(high, wide))
    if min(high, wide) * scale < 1:
        raise RFAConvError(f"{wide} x {high} pixels, too narrow for a network of {least} pixels")
    return scale
