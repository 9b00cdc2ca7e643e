"""Replaces convolutions of existing networks by the operators, and fuses them for deployment.

May import: nn and everything below it.
"""

from rfaconv.surgery import where
from rfaconv.surgery.convert import convert_
from rfaconv.surgery.fusing import fuse
from rfaconv.surgery.report import ConversionReport
from rfaconv.surgery.sites import Site

__all__ = ["ConversionReport", "Site", "convert_", "fuse", "where"]
