"""ultralytics without a network, without its own settings, and as it was before the test."""

from __future__ import annotations

import os
import tempfile

import pytest

# read when ultralytics is imported: settings of its own, nothing installed behind our back
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="rfaconv-yolo-"))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")


@pytest.fixture(autouse=True)
def registered():
    """The operators are registered, and forgotten afterwards."""
    pytest.importorskip("ultralytics")
    import rfaconv

    rfaconv.register("ultralytics")
    yield
    rfaconv.unregister("ultralytics")
