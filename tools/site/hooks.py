"""What MkDocs does not do by itself: generated references, links into the repository, MathML."""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = os.environ.get("RFACONV_REPOSITORY", "").rstrip("/")
"""The repository's public address, for links that leave the site; the release workflow knows it."""

LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?!\w+:|#|/)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)
MATH = re.compile(r'<(?P<tag>span|div) class="arithmatex">(?P<tex>.*?)</(?P=tag)>', re.DOTALL)
VALUE = re.compile(r"<!-- /?v[^>]*-->")
# a line that ends and goes on in Chinese has no space in between
BROKEN = re.compile(
    r"(?<=[*\u3000-\u9fff\uff00-\uffef])\n[ ]*(?=[\u3000-\u9fff\uff00-\uffef])"
    r"|(?<=[，。：；、（])\n[ ]*(?=[A-Za-z`\[])"
)
TAG = re.compile(r"\\tag\{(\d+)\}")
# the pages name the light picture alone, which is what other viewers of Markdown show
FIGURE = re.compile(r"(!\[[^\]]*\]\([^)]*)-light\.svg\)")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)


def commands() -> str:
    """The help of every command, as the command prints it."""
    sys.path.insert(0, str(ROOT / "src"))
    import typer

    from rfaconv.cli.main import COMMANDS, build

    group: Any = typer.main.get_command(build())
    above = group.make_context("rfaconv", [], resilient_parsing=True)
    parts = []
    for name in COMMANDS:
        command = group.commands[name]
        context = command.make_context(name, [], parent=above, resilient_parsing=True)
        context.terminal_width = 78
        parts.append(f"## rfaconv {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def recipes() -> str:
    """Name, what it is, and text of every recipe."""
    import yaml

    parts = ["| recipe | what it is |\n|---|---|"]
    texts = []
    for path in sorted((ROOT / "src" / "rfaconv").rglob("*.yaml"), key=lambda p: p.stem):
        text = path.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
        if isinstance(found, dict) and "about" in found:
            about = " ".join(found["about"].split())
            parts.append(f"| [{path.stem}](#{path.stem}) | {about} |")
            texts.append(f"## {path.stem}\n\n```yaml\n{text.strip()}\n```\n")
    return "\n".join(parts) + "\n\n" + "\n".join(texts)


GENERATED: dict[str, Callable[[], str]] = {"commands": commands, "recipes": recipes}


def in_english(markdown: str, page: Any) -> str:
    """An English page among the Chinese ones says so; objects are documented once, in English."""
    title = markdown.partition("\n")[0]
    there = os.path.relpath(page.url.removeprefix("zh/") or ".", page.url)
    note = f'<p class="only-english">本页目前只有英文。<a href="{there}/">English page</a></p>'
    if "\n::: " in markdown:
        return f"{title}\n\n{note}\n"
    return markdown.replace(title, f"{title}\n\n{note}", 1)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills ``<!-- generated NAME -->`` and turns links that leave the site."""
    if page.url.startswith("zh/") and not page.file.src_uri.endswith(".zh.md"):
        markdown = in_english(markdown, page)
    for name, make in GENERATED.items():
        mark = f"<!-- generated {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    markdown = VALUE.sub("", markdown)
    if page.file.src_uri.endswith(".zh.md"):
        pieces = FENCE.split(markdown)
        markdown = "".join(p if p.startswith("```") else BROKEN.sub("", p) for p in pieces)
    markdown = FIGURE.sub(r"\1-light.svg#only-light)\n\1-dark.svg#only-dark)", markdown)
    source = Path(page.file.abs_src_path).parent
    docs = ROOT / "docs"

    def turned(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(source / match["target"]))
        if target.is_relative_to(docs) or not target.exists():
            return match[0]
        inside = target.relative_to(ROOT).as_posix()
        if REPOSITORY:
            return f"[{match['text']}]({REPOSITORY}/blob/main/{inside})"
        text = match["text"].strip("`")
        return f"`{inside}`" if inside.endswith(text) else f"{match['text']} (`{inside}`)"

    pieces = FENCE.split(markdown)
    return "".join(p if p.startswith("```") else LINK.sub(turned, p) for p in pieces)


def on_page_content(html_text: str, **_: Any) -> str:
    """Formulas become MathML: no script, no font and no other host is needed."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        tex = html.unescape(match["tex"]).strip()
        block = match["tag"] == "div"
        tex = tex.removeprefix(r"\[" if block else r"\(").removesuffix(r"\]" if block else r"\)")
        number = TAG.search(tex)
        formula = str(convert(TAG.sub("", tex).strip(), display="block" if block else "inline"))
        shown = f'<span class="number">({number[1]})</span>' if number else ""
        return f'<div class="equation">{formula}{shown}</div>' if block else formula

    return MATH.sub(formula, html_text)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The switch of languages on the two home pages works below any address."""
    top = "../" * page.url.count("/") or "./"
    return output.replace('href="/zh/"', f'href="{top}zh/"').replace('href="/"', f'href="{top}"')
