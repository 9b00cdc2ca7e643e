"""Networks for ONNX Runtime, OpenVINO and torch's own runtimes.

May import: everything below the command line.
"""

from rfaconv.export.check import check
from rfaconv.export.exporting import Exported, export
from rfaconv.export.prepare import prepare
from rfaconv.export.pretrained import from_pretrained, push_to_hub, save_pretrained
from rfaconv.export.quantize import calibration_pictures
from rfaconv.export.runtimes import load_exported
from rfaconv.export.source import Source, load_source
from rfaconv.export.writing import ExportFailed

__all__ = [
    "ExportFailed",
    "Exported",
    "Source",
    "calibration_pictures",
    "check",
    "export",
    "from_pretrained",
    "load_exported",
    "load_source",
    "prepare",
    "push_to_hub",
    "save_pretrained",
]
