"""Code in README and docs runs; doctests of the package hold."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import rfaconv

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
# test_learn.py runs every block of these alone
ALONE = ("learn", "how")
# need extras that a bare installation lacks, or run commands at import
LAYERS = (
    "reference",
    "functional",
    "nn",
    "official",
    "effective",
    "errors",
    "geometry",
    "surgery",
    "complexity",
    "models",
)


def modules():
    names = ["rfaconv"]
    for info in pkgutil.walk_packages(rfaconv.__path__, "rfaconv."):
        if info.name.split(".")[1] in LAYERS:
            names.append(info.name)
    return names


@pytest.mark.parametrize("name", modules())
def test_doctests(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch})
    assert result.failed == 0


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.parent.name not in ALONE], ids=lambda p: p.name
)
def test_python_blocks_run(page):
    blocks = re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    namespace = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_exist(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
