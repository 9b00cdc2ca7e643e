"""The few SVG parts that the charts of the report are made of; colours come from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``, about ``count`` of them.

    Example:
        >>> ticks(0, 10)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def label(value: float, positions: Sequence[float]) -> str:
    """Text of a tick, with as many digits as the distance of its neighbours asks for.

    Example:
        >>> label(0.5, [0.0, 0.5, 1.0]), label(20.0, [0.0, 20.0]), label(5.0, [2.5, 5.0])
        ('0.5', '20', '5.0')
    """
    step = abs(positions[1] - positions[0]) if len(positions) > 1 else abs(value) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(round(step, digits) - step) > 1e-6 * step:  # steps such as 2.5 or 0.25
        digits += 1
    return f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Frame:
    """Plot area with linear axes, in pixels of the SVG's own coordinates.

    Attributes:
        x, y: (low, high) in data units.
        width, height: of the whole drawing.
        left, right, top, bottom: margins.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 460
    height: int = 300
    left: int = 56
    right: int = 16
    top: int = 14
    bottom: int = 46

    def px(self, value: float) -> float:
        """Horizontal position of a value."""
        part = (value - self.x[0]) / (self.x[1] - self.x[0])
        return self.left + part * (self.width - self.left - self.right)

    def py(self, value: float) -> float:
        """Vertical position of a value."""
        part = (value - self.y[0]) / (self.y[1] - self.y[0])
        return self.height - self.bottom - part * (self.height - self.top - self.bottom)

    def axes(self, x_title: str, y_title: str, x_ticks: Sequence[float] | None = None) -> list[str]:
        """Grid lines, tick labels and titles."""
        bottom, right = self.height - self.bottom, self.width - self.right
        parts = []
        across = list(x_ticks) if x_ticks is not None else ticks(*self.x)
        for value in across:
            at = self.px(value)
            parts.append(line(at, self.top, at, bottom, "grid"))
            parts.append(text(at, bottom + 16, label(value, across), "tick", "middle"))
        up = ticks(*self.y)
        for value in up:
            at = self.py(value)
            parts.append(line(self.left, at, right, at, "grid"))
            parts.append(text(self.left - 7, at + 4, label(value, up), "tick", "end"))
        middle = (self.left + right) / 2
        parts.append(text(middle, self.height - 8, x_title, "axis", "middle"))
        turned = (self.top + bottom) / 2
        parts.append(
            f'<text class="axis" text-anchor="middle" '
            f'transform="translate(13 {turned:.1f}) rotate(-90)">{escape(y_title)}</text>'
        )
        return parts

    def draw(self, parts: Sequence[str], title: str) -> str:
        """The whole drawing."""
        return drawing(self.width, self.height, parts, title)


def drawing(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """An SVG element that scales with the page; ``title`` is for screen readers."""
    inside = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:.0f}px">{inside}</svg>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str, style: str = "") -> str:
    """A straight line."""
    return (
        f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f"{_style(style)}/>"
    )


def text(
    x: float, y: float, content: str, kind: str, anchor: str = "start", style: str = ""
) -> str:
    """A piece of text."""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_style(style)}>'
        f"{escape(content)}</text>"
    )


def path(points: Sequence[tuple[float, float]], style: str, kind: str = "curve") -> str:
    """A line through points."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{kind}" d="M{steps}"{_style(style)}/>'


def area(points: Sequence[tuple[float, float]], style: str) -> str:
    """A filled shape."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="band" d="M{steps}Z"{_style(style)}/>'


def dot(x: float, y: float, radius: float, style: str, tip: str = "", kind: str = "dot") -> str:
    """A disc with a text that shows when the pointer rests on it."""
    inside = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"{_style(style)}>'
        f"{inside}</circle>"
    )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near ``wanted`` that keep ``gap`` between neighbours and stay in [low, high].

    Example:
        >>> spread([5, 5, 20], 4, 0, 30)
        [3.0, 7.0, 20.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # blocks of touching labels, each centred on the mean of what its members want
    blocks: list[list[int]] = []
    places: list[float] = []

    def first(members: list[int]) -> float:
        centre = sum(wanted[i] for i in members) / len(members)
        start = centre - gap * (len(members) - 1) / 2
        return min(max(start, low), max(low, high - gap * (len(members) - 1)))

    for index in order:
        blocks.append([index])
        places.append(first(blocks[-1]))
        while len(blocks) > 1 and places[-2] + gap * len(blocks[-2]) > places[-1]:
            last = blocks.pop()
            blocks[-1] += last
            places.pop()
            places[-1] = first(blocks[-1])
    result = [0.0] * len(wanted)
    for members, start in zip(blocks, places, strict=True):
        for place, index in enumerate(members):
            result[index] = float(start + gap * place)
    return result


def _style(style: str) -> str:
    return f' style="{style}"' if style else ""
