"""Replaces convolutions of existing networks by the operators, and fuses them for deployment.

May import: nn and everything below it.
"""

from rfaconv.surgery import where
from rfaconv.surgery.convert import convert_
from rfaconv.surgery.description import conversion_of, converted_like
from rfaconv.surgery.fusing import fuse
from rfaconv.surgery.report import ConversionReport
from rfaconv.surgery.sites import Site

__all__ = [
    "ConversionReport",
    "Site",
    "conversion_of",
    "convert_",
    "converted_like",
    "fuse",
    "where",
]
