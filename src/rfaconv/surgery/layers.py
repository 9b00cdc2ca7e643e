"""The layer of every operator name, by the number of spatial dimensions."""

from __future__ import annotations

from typing import Any

from torch import nn

from rfaconv.nn import (
    CAConv2d,
    CAMConv2d,
    CBAMConv2d,
    RFAConv1d,
    RFAConv2d,
    RFAConv3d,
    RFCAConv1d,
    RFCAConv2d,
    RFCAConv3d,
    RFCBAMConv1d,
    RFCBAMConv2d,
    RFCBAMConv3d,
)

LAYERS: dict[str, dict[int, Any]] = {
    "rfa": {1: RFAConv1d, 2: RFAConv2d, 3: RFAConv3d},
    "rfcbam": {1: RFCBAMConv1d, 2: RFCBAMConv2d, 3: RFCBAMConv3d},
    "rfca": {1: RFCAConv1d, 2: RFCAConv2d, 3: RFCAConv3d},
    # the baselines of the paper are attention over the rows and columns of an image
    "cam": {2: CAMConv2d},
    "cbam": {2: CBAMConv2d},
    "ca": {2: CAConv2d},
}

_NAMES = {layer: name for name, layers in LAYERS.items() for layer in layers.values()}


def operator_of(module: nn.Module) -> str | None:
    """The name of the operator that a layer is, or None.

    Example:
        >>> operator_of(RFCAConv1d(2, 2, 3)), operator_of(nn.Conv2d(2, 2, 3))
        ('rfca', None)
    """
    return _NAMES.get(type(module))
