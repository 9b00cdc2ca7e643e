"""Networks for ONNX Runtime, OpenVINO and torch's own runtimes.

May import: models and everything below them; nothing of the laboratory.
"""

import warnings
from importlib import import_module
from typing import Any

from rfaconv.export.check import check
from rfaconv.export.exporting import Exported, export
from rfaconv.export.prepare import prepare
from rfaconv.export.pretrained import push_to_hub, save_pretrained
from rfaconv.export.reading import from_pretrained
from rfaconv.export.runtimes import load_exported
from rfaconv.export.source import Source
from rfaconv.export.writing import ExportFailed

__all__ = [
    "ExportFailed",
    "Exported",
    "Source",
    "check",
    "export",
    "from_pretrained",
    "load_exported",
    "prepare",
    "push_to_hub",
    "save_pretrained",
]

_MOVED = ("calibration_pictures", "load_source")


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"import {name} from rfaconv.lab", DeprecationWarning, stacklevel=2)
    # by its name: the library knows nothing of the laboratory
    return getattr(import_module("rfaconv.lab"), name)
