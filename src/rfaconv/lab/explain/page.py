"""Explanations as one HTML page without network, and as a PNG for each image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from rfaconv.lab.explain.figures import Panel, figure_of, png_of
from rfaconv.lab.explain.images import Explained

QUALITY = 88
"""Of WebP, in which pictures lie in the page."""


def page_of(
    title: str, about: str, images: Sequence[tuple[str, Explained]], skipped: Sequence[str] = ()
) -> str:
    """The page: every panel of every image, with the pictures inside."""
    rows = [
        {"name": name, "right": made.right, "panels": [_shown(panel) for panel in made.panels]}
        for name, made in images
    ]
    template = _templates().get_template("page.html.j2")
    text: str = template.render(title=title, about=about, images=rows, skipped=skipped)
    return text


def _templates() -> Any:
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader(__package__, ""), autoescape=True, trim_blocks=True)


def _shown(panel: Panel) -> dict[str, str]:
    data = webp_uri(png_of(figure_of([panel]), dpi=100))
    return {"title": panel.title, "note": panel.note, "data": data}


def webp_uri(png: bytes) -> str:
    """A PNG as a smaller ``data:`` address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
