"""Fixtures that every test may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

# read when ultralytics is imported: settings of its own, nothing installed behind our back
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="rfaconv-yolo-"))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden vectors and image sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("RFACONV_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip("needs the shared folder with golden vectors and image sets beside the project")
    return folder


@pytest.fixture
def registered() -> Iterator[None]:
    """ultralytics knows the operators, and forgets them afterwards."""
    pytest.importorskip("ultralytics")
    import rfaconv

    rfaconv.register("ultralytics")
    yield
    rfaconv.unregister("ultralytics")
