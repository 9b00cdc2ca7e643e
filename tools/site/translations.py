"""Notes which English page every Chinese page translates: python tools/site/translations.py.

Run it after a translation is up to date; tests/package/test_site.py compares the hashes.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "translations.json"
FIGURE = re.compile(
    r"(<!-- v [\w.-]+ -->).*?(<!-- /v -->)|<!-- table \w+ -->.*?<!-- end -->", re.DOTALL
)


def english() -> list[Path]:
    """The pages that must be there in Chinese."""
    found = [ROOT / "README.md", ROOT / "docs" / "index.md"]
    for folder in ("learn", "how"):
        pages = (ROOT / "docs" / folder).glob("*.md")
        found += sorted(page for page in pages if not page.name.endswith(".zh.md"))
    return found


def chinese(page: Path) -> Path:
    """Where the translation of a page is."""
    if page.name == "README.md":
        return page.with_name("README.zh-CN.md")
    return page.with_name(f"{page.stem}.zh.md")


def digest(page: Path) -> str:
    """SHA-256 of the text, but for figures that code writes in both languages."""
    text = FIGURE.sub("", page.read_text(encoding="utf-8"))
    return hashlib.sha256(text.encode()).hexdigest()


def name(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    digests = {name(page): digest(page) for page in english()}
    RECORD.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
