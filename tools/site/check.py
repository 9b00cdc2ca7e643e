"""Looks at the built site: every link and picture leads somewhere, every public name is there.

python tools/site/check.py site
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Links, pictures, scripts and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        loads = tag != "a" and not (
            tag == "link" and found.get("rel") in ("canonical", "alternate")
        )
        for key in ("href", "src"):
            if value := found.get(key):
                self.targets.append(value)
                if loads:
                    self.loaded.append(value)


def problems(site: Path) -> list[str]:
    """What is wrong with the built site, a line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found: list[str] = []
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        for target in page.loaded:
            if urlsplit(target).netloc:
                found.append(f"{where}: loads {target} from elsewhere")
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = place / "index.html" if place.is_dir() else place
            if not place.exists():
                found.append(f"{where}: {target} leads nowhere")
            elif parts.fragment and place in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[place].anchors and anchor != "__comments":
                    found.append(f"{where}: {target} has no such anchor")
    surface = json.loads((ROOT / "tests/package/surface.json").read_text(encoding="utf-8"))
    described = {
        a for path, page in pages.items() if "reference" in path.parts for a in page.anchors
    }
    for module, names in surface.items():
        for name in names:
            if name.startswith("__") or name in ("functional", "nn", "official"):
                continue  # the version; modules, whose names are listed below their own
            if not any(a == f"{module}.{name}" or (module == "rfaconv" and a.endswith(f".{name}")) for a in described):  # noqa: E501  # fmt: skip
                found.append(f"{module}.{name} is not in the reference")
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    print("\n".join(wrong) or "every link leads somewhere, every public name is in the reference")
    sys.exit(bool(wrong))
