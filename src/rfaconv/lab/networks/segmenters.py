"""Unet and DeepLabV3Plus of segmentation_models_pytorch on encoders with the operators."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument, unknown_name

SEGMENTERS = ("unet", "deeplabv3plus")
_MULTIPLE = 32


def build_segmenter(
    kind: str,
    encoder: str,
    classes: int,
    *,
    output_stride: int | None = None,
    width: float = 1.0,
) -> nn.Module:
    """A network from images (B, 3, H, W) to scores (B, classes, H, W); H, W multiples of 32.

    Args:
        kind: ``unet`` or ``deeplabv3plus``.
        encoder: a timm model, such as ``resnet18`` or ``rfa_resnet18``.
        classes: number of classes.
        output_stride: of the encoder of DeepLabV3Plus: 8 or 16, by dilation; None is 16.
        width: factor of all channels behind the stem; other than 1 only with a ResNet.

    Raises:
        InvalidArgument: an unknown name, or an output stride that the network does not take.
    """
    import segmentation_models_pytorch as smp
    import timm

    import rfaconv.models  # noqa: F401  # registers the encoders
    from rfaconv.models.width import narrowed

    if kind not in SEGMENTERS:
        raise unknown_name("kind", kind, SEGMENTERS)
    if not timm.is_model(encoder):
        raise InvalidArgument("encoder", "the name of a timm model", repr(encoder))
    settings = {"encoder_name": f"tu-{encoder}", "encoder_weights": None, "classes": classes}
    settings |= narrowed(encoder, width)
    if kind == "unet":
        if output_stride is not None:
            raise InvalidArgument("output_stride", "None with unet", output_stride)
        decoder = [max(8, int(c * width)) for c in (256, 128, 64, 32, 16)]
        unet: nn.Module = smp.Unet(**settings, decoder_channels=decoder)
        return unet
    if output_stride not in (None, 8, 16):
        raise InvalidArgument("output_stride", "8 or 16", output_stride)
    deeplab: nn.Module = smp.DeepLabV3Plus(
        **settings,
        encoder_output_stride=output_stride or 16,
        decoder_channels=max(32, int(256 * width)),
    )
    return deeplab


def scores(network: nn.Module, images: Tensor) -> Tensor:
    """Scores (B, classes, H, W) for images of any size: padded for the network, then cut."""
    height, width = images.shape[-2:]
    result: Tensor = network(standardised(images))
    return result[..., :height, :width]


def standardised(images: Tensor) -> Tensor:
    """What the network itself sees of images in [0, 1]: about unit variance, sides of 32n."""
    height, width = images.shape[-2:]
    padding = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
    padded = F.pad(images, padding, mode="replicate") if any(padding) else images
    return padded * 4 - 2
