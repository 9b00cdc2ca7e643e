"""A sheet for plain SVG: few marks, one palette for each scheme, the same bytes everywhere.

matplotlib draws the same picture with other bytes in every version; these files are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

FONT = (
    "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', "
    "'Microsoft YaHei', sans-serif"
)
MONO = "ui-monospace, 'SFMono-Regular', 'DejaVu Sans Mono', 'Noto Sans Mono', monospace"
PALETTES = {
    "light": {
        "ink": "#1f2430", "muted": "#5b6472", "line": "#98a1ae", "card": "#f4f6f9",
        "conv": "#7d8794", "rfa": "#3867d6", "rfcbam": "#c9701c", "rfca": "#1f8f62",
        "cam": "#a6629b", "cbam": "#8e4fb0", "ca": "#b0567f", "published": "#b9c0ca",
        "features": "#7a6a1f", "rfa-values": "#c2366b",
        "long-rfa": "#6b4bb8", "wide-rfa": "#1b8aa6",
        "map": "#3867d6", "gate": "#c9701c", "panel": "#1f8f62", "paper": "#ffffff",
    },
    "dark": {
        "ink": "#e6e9ef", "muted": "#a6aebb", "line": "#6d7684", "card": "#262b36",
        "conv": "#98a1ae", "rfa": "#7ea2f7", "rfcbam": "#f0a35e", "rfca": "#5cc99a",
        "cam": "#d79acb", "cbam": "#c596e8", "ca": "#e397b9", "published": "#565f6d",
        "features": "#cdbb5a", "rfa-values": "#f07fa8",
        "long-rfa": "#b49cf0", "wide-rfa": "#6ccbe0",
        "map": "#7ea2f7", "gate": "#f0a35e", "panel": "#5cc99a", "paper": "#1e2129",
    },
}  # fmt: skip


def number(value: float) -> str:
    """A coordinate: two digits, no minus zero."""
    return f"{round(value, 2) + 0.0:g}"


@dataclass
class Sheet:
    """An SVG that grows by marks.

    Args:
        width: in user units; the page scales it.
        height: in user units.
        title: what the picture shows, for who cannot see it.
        scheme: ``light`` or ``dark``.
        language: ``en`` or ``zh``.
    """

    width: float
    height: float
    title: str
    scheme: str = "light"
    language: str = "en"
    marks: list[str] = field(default_factory=list)

    def colour(self, name: str) -> str:
        """The colour of a role in this scheme; anything else is a colour already."""
        return PALETTES[self.scheme].get(name, name)

    def say(self, english: str, chinese: str) -> str:
        """The text of the sheet's language."""
        return chinese if self.language == "zh" else english

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str = "none", stroke: str = "none",
        opacity: float = 1.0, radius: float = 3, width: float = 1.2, dashed: bool = False,
    ) -> None:  # fmt: skip
        """A rectangle; ``opacity`` is of the fill."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.marks.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}" '
            f'rx="{number(radius)}" fill="{self.colour(fill)}" fill-opacity="{number(opacity)}" '
            f'stroke="{self.colour(stroke)}" stroke-width="{number(width)}"{dash}/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str = "line", width: float = 1.4,
        arrow: bool = False, dashed: bool = False,
    ) -> None:  # fmt: skip
        """A line, with a head at its end if it is an arrow."""
        end = f' marker-end="url(#head-{stroke})"' if arrow else ""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.marks.append(
            f'<path d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}" fill="none" '
            f'stroke="{self.colour(stroke)}" stroke-width="{number(width)}"{dash}{end}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], stroke: str = "line", arrow: bool = True) -> None:  # fmt: skip
        """Straight pieces through points."""
        way = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        end = f' marker-end="url(#head-{stroke})"' if arrow else ""
        self.marks.append(
            f'<path d="M{way}" fill="none" stroke="{self.colour(stroke)}" stroke-width="1.4"{end}/>'
        )

    def circle(self, x: float, y: float, r: float, fill: str = "ink", stroke: str = "none") -> None:
        """A disc."""
        self.marks.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(r)}" '
            f'fill="{self.colour(fill)}" stroke="{self.colour(stroke)}" stroke-width="1.3"/>'
        )

    def text(
        self, x: float, y: float, words: str, size: float = 13, fill: str = "ink",
        anchor: str = "middle", bold: bool = False, mono: bool = False,
    ) -> None:  # fmt: skip
        """One line of text; ``y`` is its baseline."""
        weight = ' font-weight="600"' if bold else ""
        family = f' font-family="{MONO}"' if mono else ""
        self.marks.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" '
            f'fill="{self.colour(fill)}" text-anchor="{anchor}"{weight}{family}>{escape(words)}</text>'
        )

    def image(self, x: float, y: float, size: float, jpeg: str) -> None:
        """A square JPEG, given in base64."""
        self.marks.append(
            f'<image x="{number(x)}" y="{number(y)}" width="{number(size)}" height="{number(size)}" '
            f'style="image-rendering:pixelated" href="data:image/jpeg;base64,{jpeg}"/>'
        )

    def grid(
        self, x: float, y: float, cell: float, values: Sequence[float], columns: int, fill: str,
        top: float, digits: int = 2, size: float = 10.5,
    ) -> None:  # fmt: skip
        """Cells with numbers, darker for larger values; ``top`` is full colour."""
        for i, value in enumerate(values):
            left, up = x + (i % columns) * cell, y + (i // columns) * cell
            share = min(1.0, abs(value) / top) if top else 0.0
            self.rect(left, up, cell, cell, fill, "line", 0.06 + 0.62 * share, 0, 0.8)
            shown = f"{value:.{digits}f}".replace("-0.00", "0.00")
            self.text(left + cell / 2, up + cell / 2 + size * 0.36, shown, size, "ink")

    def svg(self) -> str:
        """The file."""
        heads = "".join(
            f'<marker id="head-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto-start-reverse"><path d="M0 .6L7.4 4L0 7.4z" '
            f'fill="{self.colour(name)}"/></marker>'
            for name in ("line", "ink", "rfa", "rfcbam", "rfca", "cbam", "gate", "map", "panel")
            if any(f"#head-{name})" in mark for mark in self.marks)
        )
        defs = f"<defs>{heads}</defs>\n" if heads else ""
        # light pictures have a ground of their own: viewers with a dark page show them too
        ground = (
            '<rect width="100%" height="100%" fill="#ffffff"/>\n' if self.scheme == "light" else ""
        )
        body = ground + "\n".join(self.marks)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(self.width)} '
            f'{number(self.height)}" width="{number(self.width)}" height="{number(self.height)}" '
            f'role="img" font-family="{FONT}">\n<title>{escape(self.title)}</title>\n'
            f"{defs}{body}\n</svg>\n"
        )
