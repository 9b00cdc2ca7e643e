"""What a conversion did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_SELECTED = "not selected by"


@dataclass(frozen=True)
class ConversionReport:
    """Result of :func:`rfaconv.convert_`.

    Attributes:
        operator: name of the operator that was put in.
        init: ``fresh`` or ``preserve``.
        replaced: names of the modules that were replaced.
        skipped: every other convolution, with the reason.
        lower_bounds: with ``init="preserve"`` and a receptive-field operator, the smallest input
            that each replaced layer reproduces exactly (over its channels, the largest such value).
            Inputs below it act as if they were equal to it.
        proved: layers whose bound holds for every input of the network; the others rest on
            calibration.
    """

    operator: str
    init: str
    replaced: tuple[str, ...]
    skipped: Mapping[str, str]
    lower_bounds: Mapping[str, float] = field(default_factory=dict)
    proved: frozenset[str] = frozenset()

    def __str__(self) -> str:
        lines = [f"{len(self.replaced)} convolutions replaced by {self.operator} ({self.init})"]
        for name in self.replaced:
            lines.append(f"  {name}{self._bound(name)}")
        others = [(name, why) for name, why in self.skipped.items() if NOT_SELECTED not in why]
        if others:
            lines.append(f"{len(others)} skipped")
            lines.extend(f"  {name}: {why}" for name, why in others)
        left = len(self.skipped) - len(others)
        if left:
            lines.append(f"{left} not selected")
        return "\n".join(lines)

    def _bound(self, name: str) -> str:
        if name not in self.lower_bounds:
            return ""
        source = "proved" if name in self.proved else "calibrated"
        return f": exact for inputs >= {self.lower_bounds[name]:.4g} ({source})"
