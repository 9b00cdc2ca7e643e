"""The old place of :mod:`rfaconv.files`, for one release."""

from __future__ import annotations

import warnings
from typing import Any

import rfaconv.files


def __getattr__(name: str) -> Any:
    if name not in ("strict_json", "write_atomic"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"import {name} from rfaconv.files", DeprecationWarning, stacklevel=2)
    return getattr(rfaconv.files, name)
