"""Which pictures there are, and what their files hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.figures import charts, curves, evidence, method
from docs.figures.svg import PALETTES, Sheet

HERE = Path(__file__).parent
PICTURES: dict[str, Callable[[str, str], Sheet]] = {
    "operators": method.operators,
    "window": method.window,
    "sharing": method.sharing,
    "cost": charts.cost,
    "accuracy": charts.accuracy,
}
if evidence.grid() is not None:
    PICTURES["curves"] = curves.curves


def files() -> dict[str, str]:
    """The text of every file by its name: NAME-SCHEME.svg, and NAME-SCHEME.zh.svg in Chinese."""
    return {
        f"{name}-{scheme}{'' if language == 'en' else '.zh'}.svg": draw(scheme, language).svg()
        for name, draw in PICTURES.items()
        for scheme in PALETTES
        for language in ("en", "zh")
    }
