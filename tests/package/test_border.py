"""No backend is named above ``backends`` but by what the dispatcher answers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rfaconv
from rfaconv.backends.registry import PRIORITY

SOURCE = Path(rfaconv.__file__).parent
ABOVE = ("nn", "functional", "ops", "reference", "surgery", "official", "models")
FILES = sorted(
    [path for name in ABOVE for path in (SOURCE / name).rglob("*.py")]
    + [SOURCE / f"{name}.py" for name in ("dispatch", "effective", "complexity", "geometry")]
)


def names_in(text: str) -> list[str]:
    """Backends that code, not its documentation, spells out; ``cpu`` is a device as well."""
    tree = ast.parse(text)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    return [s for s in strings if s in PRIORITY and s != "cpu"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_backend_is_named(path: Path) -> None:
    assert names_in(path.read_text(encoding="utf-8")) == []


def test_the_search_finds_a_name() -> None:
    assert names_in('"""triton"""\nif backend == "triton":\n    pass') == ["triton"]


def test_devices_are_no_backends() -> None:
    """Where the code asks for the CPU, it asks a tensor or the user's words, not a backend."""
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if '"cpu"' in line and ">>>" not in line:
                assert "device" in line or "map_location" in line, f"{path}: {line.strip()}"
