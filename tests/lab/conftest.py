"""ultralytics without settings of somebody's own, and as it was before the test."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

# read when ultralytics is imported
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="rfaconv-yolo-"))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")


@pytest.fixture(autouse=True)
def _registration_forgotten() -> Iterator[None]:
    yield
    if "ultralytics" in sys.modules:
        import rfaconv

        rfaconv.unregister("ultralytics")
