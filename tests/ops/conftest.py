"""Fixtures of the op tests."""

from __future__ import annotations

import pytest

from rfaconv.backends.cpu import BACKEND


@pytest.fixture
def cpu_library() -> None:
    """Skips, with the library's own reason, where the CPU kernels are not built."""
    status = BACKEND.status()
    if not status.available:
        pytest.skip(f"needs the CPU kernels: {status.reason}")
