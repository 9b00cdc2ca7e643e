"""A pytest plugin: the library comes from the folder that RFACONV_LIBRARY_FOLDER names.

``.ci/sanitized`` builds it there with AddressSanitizer, whose runtime has to be in the process
before Python: ``LD_PRELOAD=libasan.so pytest -p testing.sanitized ...``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rfaconv.backends import cpu
from rfaconv.backends.cpu import library

_FOLDER = Path(os.environ["RFACONV_LIBRARY_FOLDER"]).resolve()
# the package's path is where the library is looked for; nothing else lies in that folder
cpu.__path__.insert(0, str(_FOLDER))


def pytest_configure(config: pytest.Config) -> None:
    """Refuses to run the tests on another library than the one in the folder."""
    loaded = library.load()
    if loaded.reason is not None:
        raise pytest.UsageError(loaded.reason)
    if Path(loaded.details["library"]).parent != _FOLDER:
        raise pytest.UsageError(f"expected the library of {_FOLDER}, got {dict(loaded.details)}")
