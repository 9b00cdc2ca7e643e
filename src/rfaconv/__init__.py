"""Receptive-field attention convolutions: RFAConv, RFCBAMConv and RFCAConv for PyTorch."""

from rfaconv import functional, nn, official
from rfaconv.effective import EffectiveKernels, effective_kernels
from rfaconv.errors import BackendUnavailable, InvalidArgument, RFAConvError, UnsafeCheckpoint
from rfaconv.nn import (
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
from rfaconv.registration import IntegrationError, register, unregister
from rfaconv.surgery import ConversionReport, conversion_of, convert_, converted_like, fuse, where
from rfaconv.variants import OPERATORS

__version__ = "0.1.0"

__all__ = [
    "OPERATORS",
    "BackendUnavailable",
    "ConversionReport",
    "EffectiveKernels",
    "IntegrationError",
    "InvalidArgument",
    "RFAConv1d",
    "RFAConv2d",
    "RFAConv3d",
    "RFAConvError",
    "RFCAConv1d",
    "RFCAConv2d",
    "RFCAConv3d",
    "RFCBAMConv1d",
    "RFCBAMConv2d",
    "RFCBAMConv3d",
    "UnsafeCheckpoint",
    "__version__",
    "conversion_of",
    "convert_",
    "converted_like",
    "effective_kernels",
    "functional",
    "fuse",
    "nn",
    "official",
    "register",
    "unregister",
    "where",
]
