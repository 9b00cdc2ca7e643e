"""Text is read and written as UTF-8 everywhere: what a system takes by itself differs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "examples", "benchmarks", "tests", "testing", "docs", "tools/site")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
BINARY_OPEN = {"Image", "tarfile", "os", "gzip", "zipfile"}


def name_of(function):
    if isinstance(function, ast.Attribute):
        return function.attr, ast.unparse(function.value)
    return getattr(function, "id", ""), ""


def mode_of(call, position):
    given = call.args[position : position + 1]
    given += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    return given[0].value if given and isinstance(given[0], ast.Constant) else given[:1] or None


def lacks_encoding(call):
    """Whether a call opens text, or reads it from a process, without naming how it is encoded."""
    name, owner = name_of(call.func)
    named = {keyword.arg for keyword in call.keywords}
    if named & {"encoding", None}:
        return False
    if name in ("read_text", "write_text"):
        return bool(owner)
    if name in ("run", "Popen", "check_output"):
        return owner == "subprocess" and bool(named & {"text", "universal_newlines"})
    if name not in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        return False
    if name == "open" and owner in BINARY_OPEN:
        return False
    mode = mode_of(call, 1 if name == "fdopen" or not owner else 0)
    if mode is None:  # temporary files are binary unless told otherwise
        return name in ("open", "fdopen") and not (owner and call.args)
    return isinstance(mode, str) and "b" not in mode


def found(text):
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if lacks_encoding(call)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("p.read_text()", [1]),
        ("p.write_text('é')", [1]),
        ("open('a')", [1]),
        ("\np.open('w')", [2]),
        ("p.open()", [1]),
        ("os.fdopen(h, 'w')", [1]),
        ("open('a', mode='a')", [1]),
        ("tempfile.NamedTemporaryFile('w')", [1]),
        ("subprocess.run(c, text=True)", [1]),
        ("open('a', 'rb')", []),
        ("p.open('rb')", []),
        ("tempfile.NamedTemporaryFile(suffix='.x')", []),
        ("Image.open(p)", []),
        ("store.open(settings)", []),
        ("read_text(p)", []),
        ("p.read_text(encoding='utf-8')", []),
        ("subprocess.run(c, capture_output=True)", []),
    ],
)
def test_the_search_finds_text(text, lines):
    assert found(text) == lines


def test_every_text_file_is_utf_8():
    hits = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in found(path.read_text(encoding="utf-8"))
    ]
    assert FILES
    assert not hits, hits
