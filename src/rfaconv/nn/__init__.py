"""The operators as layers, each a true subclass of torch's convolution.

May import: functional and everything below it.
"""

from rfaconv.nn.attention import CAM, CBAM, SE, CoordinateAttention
from rfaconv.nn.baselines import CAConv2d, CAMConv2d, CBAMConv2d
from rfaconv.nn.blocks import ConvNormAct
from rfaconv.nn.rfa import RFAConv1d, RFAConv2d, RFAConv3d
from rfaconv.nn.rfca import RFCAConv1d, RFCAConv2d, RFCAConv3d
from rfaconv.nn.rfcbam import RFCBAMConv1d, RFCBAMConv2d, RFCBAMConv3d
from rfaconv.nn.unfold import UnfoldRFAConv2d

CONVOLUTIONS = {
    "rfa": RFAConv2d,
    "rfcbam": RFCBAMConv2d,
    "rfca": RFCAConv2d,
    "cam": CAMConv2d,
    "cbam": CBAMConv2d,
    "ca": CAConv2d,
}
"""The two-dimensional layer of every operator name."""

__all__ = [
    "CAM",
    "CBAM",
    "CONVOLUTIONS",
    "SE",
    "CAConv2d",
    "CAMConv2d",
    "CBAMConv2d",
    "ConvNormAct",
    "CoordinateAttention",
    "RFAConv1d",
    "RFAConv2d",
    "RFAConv3d",
    "RFCAConv1d",
    "RFCAConv2d",
    "RFCAConv3d",
    "RFCBAMConv1d",
    "RFCBAMConv2d",
    "RFCBAMConv3d",
    "UnfoldRFAConv2d",
]
