"""The public names: removing one fails here, so it is done on purpose."""

import importlib
import json
from pathlib import Path

import pytest

SURFACE = json.loads((Path(__file__).parent / "surface.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", sorted(SURFACE))
def test_public_names(module):
    found = importlib.import_module(module)
    assert sorted(found.__all__) == sorted(SURFACE[module])
    missing = [name for name in found.__all__ if not hasattr(found, name)]
    assert not missing
    for name in found.__all__:
        value = getattr(found, name)
        if callable(value):
            assert value.__doc__, f"{module}.{name} has no docstring"
