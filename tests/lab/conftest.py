"""ultralytics as it was before the test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _registration_forgotten() -> Iterator[None]:
    yield
    if "ultralytics" in sys.modules:
        import rfaconv

        rfaconv.unregister("ultralytics")
