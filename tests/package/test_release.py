"""What a release needs to agree on, and the script that builds its files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "tools").is_dir(), reason="the tools are part of the repository"
)


def _load(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script under tools/, imported by its path."""
    place = ROOT / "tools" / path
    monkeypatch.syspath_prepend(str(place.parent))
    spec = importlib.util.spec_from_file_location(f"tools_{place.stem}", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def _release(folder: Path, version: str, cited: str, heading: str) -> Path:
    package = folder / "src" / "rfaconv"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
    (folder / "CITATION.cff").write_text(f"type: software\nversion: {cited}\n", encoding="utf-8")
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n", encoding="utf-8")
    return folder


def test_version_changelog_and_citation_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _load("release/check.py", monkeypatch).problems(ROOT) == []


@pytest.mark.parametrize(
    ("cited", "heading", "tag", "wrong"),
    [
        ("1.2.3", "1.2.3 (unreleased)", None, 0),
        ("1.2.3", "1.2.3 (2026-11-29)", "v1.2.3", 0),
        ("1.2.2", "1.2.3 (unreleased)", None, 1),
        ("1.2.3", "1.2.30 (unreleased)", None, 1),
        ("1.2.3", "1.2.3 (unreleased)", "v1.2.3", 1),
        ("1.2.3", "1.2.3 (2026-11-29)", "v1.2.4", 1),
    ],
)
def test_disagreement_is_found(
    cited: str,
    heading: str,
    tag: str | None,
    wrong: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = _release(tmp_path, "1.2.3", cited, heading)
    found = _load("release/check.py", monkeypatch).problems(root, tag)
    assert len(found) == wrong, found


def test_links_of_the_readme_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    links = _load("wheels/source.py", monkeypatch).absolute_links
    text = '[a](docs/a.md#b) [c](https://x.y/z) [d](#e) ![f](docs/f.png) <img src="docs/g.svg">'
    assert links(text, "https://r", "v1") == (
        "[a](https://r/blob/v1/docs/a.md#b) [c](https://x.y/z) [d](#e) "
        '![f](https://r/raw/v1/docs/f.png) <img src="https://r/raw/v1/docs/g.svg">'
    )


def test_addresses_enter_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    source = _load("wheels/source.py", monkeypatch)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    urls = tomllib.loads(source.with_urls(text, "https://r"))["project"]["urls"]
    assert urls["Repository"] == "https://r"
    assert urls["Issues"] == "https://r/issues"
    assert "Paper" in urls


def test_every_platform_has_what_its_wheel_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    platforms = _load("wheels/platforms.py", monkeypatch).PLATFORMS
    assert len({platform.tag for platform in platforms}) == len(platforms) == 4
    for platform in platforms:
        if platform.toolchain is not None:
            assert (ROOT / "tools" / "wheels" / "toolchains" / platform.toolchain).is_file()


def test_the_record_of_a_platform_is_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier wheel proved is not said of this one; other platforms stay."""
    import json

    run = _load("wheels/run.py", monkeypatch)
    made = {"compiler": "GNU 12", "flags": "-O3", "built for": "scalar neon"}
    (tmp_path / "product").mkdir()
    (tmp_path / "product" / "build.json").write_text(json.dumps(made), encoding="utf-8")
    wheel, path = tmp_path / "a.whl", tmp_path / "record.json"
    wheel.write_bytes(b"123")
    first, second = run.PLATFORMS[:2]
    run.record(path, tmp_path, first, wheel, {"kernel_tests": {"passed": 8}})
    run.record(path, tmp_path, second, wheel, {"library_tests": {"passed": 2}})
    run.record(path, tmp_path, first, wheel, {"library_tests": {"passed": 3}})
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) == {first.name, second.name}
    assert "kernel_tests" not in found[first.name]
    assert found[first.name]["library_tests"] == {"passed": 3}
    assert found[first.name]["kernels"] == ["scalar", "neon"]
    assert found[first.name]["bytes"] == 3
    assert found[second.name]["emulator"] == "qemu-aarch64"
    assert found[first.name]["emulator"] == ""  # this machine


def test_actions_are_pinned_to_commits() -> None:
    """A tag of somebody else's action can be moved; a commit cannot."""
    import re

    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.search(r"uses: (\S+)(.*)", line)
            if found and not found[1].startswith("./"):
                assert re.fullmatch(r"\S+@[0-9a-f]{40}", found[1]), (path.name, line)
                assert re.fullmatch(r" # v\d+\.\d+\.\d+", found[2]), (path.name, line)
