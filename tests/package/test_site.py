"""The documentation agrees with what it is made from: results, pictures, names, translations."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks" / "results").is_dir(), reason="results are part of the repository"
)
FENCE = re.compile(r"^```(?:python|sh|text)\n.*?^```", re.MULTILINE | re.DOTALL)


def load(name: str) -> ModuleType:
    """A script of tools/site."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / f"tools/site/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


translations = load("translations")


def test_pictures_are_those_that_the_code_draws() -> None:
    from docs.figures.drawing import HERE, files

    drawn = files()
    assert {path.name for path in HERE.glob("*.svg")} == set(drawn)
    stale = [n for n, text in drawn.items() if (HERE / n).read_text(encoding="utf-8") != text]
    assert stale == [], "python -m docs.figures"


def test_figures_in_the_text_are_those_of_the_results() -> None:
    from docs.figures.evidence import with_blocks
    from docs.figures.values import MARK, filled, pages, values

    found, marks = values(), 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        marks += len(MARK.findall(text))
        # a comment at the start of a line ends the paragraph or the list
        if not page.name.endswith(".zh.md"):
            assert not re.search(r"^ *<!-- v ", text, re.MULTILINE), page.name
        assert filled(with_blocks(text), found) == text, f"{page.name}: python -m docs.figures"
    assert marks > 20


def test_every_table_has_code_that_writes_it() -> None:
    """A writer passes over marks that it does not know, as others may."""
    folders = ROOT / "benchmarks", ROOT / "docs" / "figures"
    code = "".join(f.read_text(encoding="utf-8") for d in folders for f in sorted(d.glob("*.py")))
    names = [
        (page.name, name)
        for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        for name in re.findall(
            r"^<!-- table ([\w-]+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(names) > 30
    orphans = [(page, n) for page, n in names if f'"{n.removesuffix("_zh")}"' not in code]
    assert orphans == []


def test_the_window_of_the_pictures_is_what_the_network_computes() -> None:
    """The gates of window.json follow from its patches and the published weights."""
    import torch
    from safetensors.torch import load_file

    found = json.loads((ROOT / "docs/figures/window.json").read_text(encoding="utf-8"))
    state = load_file(ROOT / "weights" / found["network"] / "model.safetensors")
    layer = {k.removeprefix(found["layer"] + "."): v for k, v in state.items()}
    channel = found["channel"]
    rows = slice(9 * channel, 9 * channel + 9)
    weight = layer["attention_weight"].view(-1, 9)[channel].double()
    kernel = layer["feature_weight"].view(-1, 9, 9)[channel].double()
    norm = {k: layer[f"feature_norm.{k}"][rows].double() for k in ("weight", "bias", "running_mean", "running_var")}  # noqa: E501  # fmt: skip
    for one in found["windows"]:
        patch = torch.tensor(one["patch"], dtype=torch.float64)
        gate = torch.softmax(weight * patch.mean(), 0)
        assert torch.allclose(gate, torch.tensor(one["gate"], dtype=torch.float64), atol=1e-5)
        z = (kernel @ patch - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5)
        feature = torch.relu(z * norm["weight"] + norm["bias"])
        assert torch.allclose(feature, torch.tensor(one["feature"], dtype=torch.float64), atol=1e-4)
    first, second = (one["patch"] for one in found["windows"])
    assert [first[i] for i in (1, 2, 4, 5, 7, 8)] == [second[i] for i in (0, 1, 3, 4, 6, 7)]


@pytest.mark.parametrize("page", translations.english(), ids=translations.name)
def test_every_page_is_translated_as_it_is_now(page: Path) -> None:
    other = translations.chinese(page)
    assert other.exists(), f"{translations.name(other)} is missing"
    known = json.loads(translations.RECORD.read_text(encoding="utf-8"))
    assert known.get(translations.name(page)) == translations.digest(page), (
        f"{page.name} changed: translate it, then python tools/site/translations.py"
    )
    ours, theirs = (p.read_text(encoding="utf-8") for p in (page, other))
    # examples are the same, so those that the gate runs are those of both languages
    assert FENCE.findall(ours) == FENCE.findall(theirs)
    assert len(re.findall(r"[\u4e00-\u9fff]", theirs)) > 100


def test_the_page_to_click_is_what_the_command_writes_now() -> None:
    """Its script and styles; docs/notes/site.md has the command that makes it anew."""
    text = (ROOT / "docs/inspector/eurosat-rfa.html").read_text(encoding="utf-8")
    for name in ("page.js", "page.css"):
        source = ROOT / "src/rfaconv/lab/inspector" / name
        assert source.read_text(encoding="utf-8").strip() in text, name
    assert len(text) < 5 * 2**20


def test_no_translation_is_left_over() -> None:
    pages = {translations.name(page) for page in translations.english()}
    assert set(json.loads(translations.RECORD.read_text(encoding="utf-8"))) == pages
    others = {translations.chinese(page) for page in translations.english()}
    assert set((ROOT / "docs").rglob("*.zh.md")) <= others


def test_every_public_name_is_in_the_reference() -> None:
    """By the directives; ``.ci/run`` looks at the built pages."""
    surface = json.loads((ROOT / "tests/package/surface.json").read_text(encoding="utf-8"))
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs/reference").glob("*.md"))
    described = set(re.findall(r"^::: ([\w.]+)", text, re.MULTILINE))
    ends = {path.rpartition(".")[2] for path in described}
    for module, names in surface.items():
        for name in names:
            known = f"{module}.{name}" in described or (module == "rfaconv" and name in ends)
            assert known or name in ("__version__", "functional", "nn", "official"), (
                f"{module}.{name}"
            )


def test_pages_that_are_named_exist() -> None:
    """Comments, recipes and scripts name pages; those that moved are found here."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.yaml", "*.yml", "*.toml", ".ci/*"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("no git repository here")
    for name in listed.stdout.split():
        for page in re.findall(r"docs/[\w/-]+\.md", (ROOT / name).read_text(encoding="utf-8")):
            example = page in ("docs/a.md",)  # of a test of links
            assert example or (ROOT / page).exists(), f"{name} names {page}"


def words(text: str) -> int:
    """Of a page, without marks and links."""
    prose = re.sub(r"<!--.*?-->|<[^>]+>|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    return len(prose.split())


def test_the_front_page_is_one_screen() -> None:
    assert words((ROOT / "README.md").read_text(encoding="utf-8")) < 600
