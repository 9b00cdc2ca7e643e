"""Tests of ultralytics run with the operators registered."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _registered(registered: None) -> None:
    pass
